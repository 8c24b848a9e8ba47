// What the tests of the C++ wrapper share: they run with exceptions, and with FES_NO_EXCEPTIONS.
#pragma once

#include <futoin_eventstream.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

using namespace std::chrono_literals;

inline std::atomic<unsigned> checks{0};

#define CHECK(...)                                                                                    \
    do {                                                                                               \
        ++checks;                                                                                      \
        if (!(__VA_ARGS__)) {                                                                          \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #__VA_ARGS__);            \
            std::exit(1);                                                                              \
        }                                                                                              \
    } while (0)

#ifdef FES_NO_EXCEPTIONS
#define FAILS(status, ...)                                                                            \
    do {                                                                                               \
        (void)(__VA_ARGS__);                                                                           \
        CHECK(fes::last_error() && fes::last_error()->code() == (status));                             \
        said = fes::last_error()->what();                                                           \
    } while (0)
#else
#define FAILS(status, ...)                                                                            \
    do {                                                                                               \
        fes_status got = FES_OK;                                                                       \
        try {                                                                                          \
            (void)(__VA_ARGS__);                                                                       \
        } catch (const fes::Error &error) {                                                            \
            got = error.code();                                                                        \
            said = error.what();                                                                    \
            CHECK(!said.empty() && error.name() == fes_status_name(got));                           \
        }                                                                                              \
        CHECK(got == (status));                                                                        \
    } while (0)
#endif

/** What the last failure that a test asked for said. */
inline std::string said;

inline bool says(std::string_view text) { return said.find(text) != std::string::npos; }

/** Waits for what another thread does. */
template <typename F> bool becomes(F condition) {
    for (int i = 0; i < 6000 && !condition(); i++)
        std::this_thread::sleep_for(10ms);
    return condition();
}

/** A stream in memory, with its tables. */
inline fes::Stream in_memory() {
    fes::Stream stream("sqlite::memory:");
    CHECK(stream.migrate());
    return stream;
}
