// Shared by the examples. A failure is an exception, which ends the program with its message.
#pragma once

#include <futoin_eventstream.hpp>
#include <iostream>

// The database of the program's first argument, or one in memory.
inline fes::Stream open_stream(int argc, char **argv) {
    fes::Stream stream(argc > 1 ? argv[1] : "sqlite::memory:");
    stream.migrate();
    return stream;
}

inline void print(const char *who, const fes::Events &events) {
    for (fes::Event event : events)
        std::cout << who << ": " << event.id << ' ' << event.type << ' ' << event.data << '\n';
}
