/* Shared by the examples: a failure ends the program with its message. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <futoin_eventstream.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fes_error *err;

static inline void check(fes_status status) {
    if (status == FES_OK)
        return;
    fprintf(stderr, "%s: %s\n", fes_error_name(err), fes_error_message(err));
    fes_error_free(err);
    exit(1);
}

/* The database of the program's first argument, or one in memory. */
static inline fes_stream *open_stream(int argc, char **argv) {
    fes_stream *stream;
    check(fes_stream_open(argc > 1 ? argv[1] : "sqlite::memory:", NULL, &stream, &err));
    check(fes_stream_migrate(stream, &err));
    return stream;
}

static inline uint64_t add(fes_stream *stream, const char *type, const char *json) {
    uint64_t id;
    check(fes_stream_add_event(stream, type, json, strlen(json), &id, &err));
    return id;
}

static inline void print(const char *who, const fes_events *events) {
    for (size_t i = 0; i < fes_events_count(events); i++) {
        const fes_event *event = fes_events_get(events, i);
        printf("%s: %" PRIu64 " %s %s\n", who, event->id, event->type, event->data);
    }
}

#endif
