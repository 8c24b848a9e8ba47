/* All together: the service app archives and discards, while a transaction adds and a consumer reads. */
#include "example.h"
#include <stdatomic.h>

static atomic_ullong archived;

/* Called by the threads of the app. */
static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    (void)user, (void)text;
    if (notice == FES_NOTICE_PROCESSED_EVENTS)
        atomic_fetch_add(&archived, number);
    if (error)
        fprintf(stderr, "%s\n", fes_error_message(error));
}

int main(int argc, char **argv) {
    fes_options *options = fes_options_new();
    check(fes_options_set(options, "enable_discarder", "true", &err));
    fes_app *app;
    check(fes_app_open(argc > 1 ? argv[1] : "sqlite::memory:", argc > 2 ? argv[2] : "sqlite::memory:", options,
                       &app, &err));
    fes_options_free(options);
    check(fes_app_migrate(app, &err));
    check(fes_app_set_on_notice(app, on_notice, NULL, NULL, &err));
    check(fes_app_start(app, &err));

    fes_stream *stream;
    fes_consumer *audit;
    check(fes_app_stream(app, &stream, &err));
    check(fes_consumer_open(stream, "app", "Audit", &audit, &err));
    check(fes_consumer_register(audit, &err));
    fes_tx *tx;
    check(fes_stream_begin(stream, &tx, &err));
    check(fes_tx_add_event(tx, "USR_ADD", "{\"name\":\"Ann\"}", 14, NULL, &err));
    check(fes_tx_add_event(tx, "USR_MOD", "{\"name\":\"Ann\"}", 14, NULL, &err));
    check(fes_tx_commit(tx, &err));
    fes_tx_free(tx);

    fes_events *events;
    check(fes_consumer_poll(audit, NULL, NULL, 0, 1000, 10000, NULL, &events, &err));
    print("audit", events);
    check(fes_consumer_acknowledge(audit, fes_events_get(events, 1)->id, &err));
    fes_events_free(events);
    while (atomic_load(&archived) < 2) { /* until the archiver is through */
        check(fes_consumer_poll(audit, NULL, NULL, 0, 1000, 20, NULL, &events, &err));
        fes_events_free(events);
    }
    printf("archived %llu\n", atomic_load(&archived));
    fes_consumer_close(audit);
    fes_app_close(app);
    fes_stream_close(stream);
    return 0;
}
