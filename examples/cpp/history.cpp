// The archiver copies events to the warehouse.
#include "example.hpp"

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    fes::Warehouse warehouse(argc > 2 ? argv[2] : "sqlite::memory:");
    warehouse.migrate();
    fes::Archiver archiver(stream, warehouse);

    stream.add_event("USR_ADD", "1");
    stream.add_event("USR_MOD", "1");
    std::cout << "archived " << archiver.run_once() << '\n'; // or start(), for ever
    print("history", warehouse.history(1, {}, 100));

    stream.add_event("USR_DEL", "1");
    fes::Replay replay(warehouse, stream, 1);
    for (fes::Events events = replay.next(100); !events.empty(); events = replay.next(100))
        print("replay", events);
}
