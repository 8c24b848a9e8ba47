/* The discarder deletes what every consumer has acknowledged, and nothing else. */
#include "example.h"

static void discard(fes_discarder *discarder) {
    uint64_t count;
    check(fes_discarder_run_once(discarder, &count, &err)); /* or fes_discarder_start, for ever */
    printf("discarded %" PRIu64 "\n", count);
}

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    fes_consumer *audit;
    fes_discarder *discarder;
    check(fes_consumer_open(stream, "app", "Audit", &audit, &err));
    check(fes_consumer_register(audit, &err));
    check(fes_discarder_open(stream, NULL, &discarder, &err));

    add(stream, "USR_ADD", "1");
    uint64_t second = add(stream, "USR_ADD", "2");
    add(stream, "USR_ADD", "3");
    discard(discarder);
    check(fes_consumer_acknowledge(audit, second, &err));
    discard(discarder);

    fes_events *events;
    check(fes_consumer_poll(audit, NULL, NULL, 0, 1000, 0, NULL, &events, &err));
    print("left", events);
    fes_events_free(events);
    fes_discarder_close(discarder);
    fes_consumer_close(audit);
    fes_stream_close(stream);
    return 0;
}
