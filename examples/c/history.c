/* The archiver copies events to the warehouse; a replay reads both as one stream. */
#include "example.h"

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    fes_warehouse *warehouse;
    check(fes_warehouse_open(argc > 2 ? argv[2] : "sqlite::memory:", NULL, &warehouse, &err));
    check(fes_warehouse_migrate(warehouse, &err));
    fes_archiver *archiver;
    check(fes_archiver_open(stream, warehouse, NULL, &archiver, &err));

    add(stream, "USR_ADD", "1");
    add(stream, "USR_MOD", "1");
    uint64_t count;
    check(fes_archiver_run_once(archiver, &count, &err)); /* or fes_archiver_start, for ever */
    printf("archived %" PRIu64 "\n", count);
    fes_events *events;
    check(fes_warehouse_history(warehouse, 1, NULL, 0, 100, &events, &err));
    print("history", events);
    fes_events_free(events);

    add(stream, "USR_DEL", "1");
    fes_replay *replay;
    check(fes_replay_open(warehouse, stream, 1, NULL, 0, &replay, &err));
    for (size_t got = 1; got > 0;) {
        check(fes_replay_next(replay, 100, &events, &err));
        print("replay", events);
        got = fes_events_count(events);
        fes_events_free(events);
    }
    fes_replay_close(replay);
    fes_archiver_close(archiver);
    fes_warehouse_close(warehouse);
    fes_stream_close(stream);
    return 0;
}
