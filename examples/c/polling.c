/* Two consumers poll what they want, and acknowledge. */
#include "example.h"

static void drain(fes_consumer *consumer, const char *who, const char *const *types, size_t count) {
    for (size_t got = 1; got > 0;) {
        fes_events *events;
        check(fes_consumer_poll(consumer, NULL, types, count, 1000, 0, NULL, &events, &err));
        print(who, events);
        got = fes_events_count(events);
        if (got > 0)
            check(fes_consumer_acknowledge(consumer, fes_events_get(events, got - 1)->id, &err));
        fes_events_free(events);
    }
}

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    fes_consumer *audit, *mailer;
    check(fes_consumer_open(stream, "app", "Audit", &audit, &err));
    check(fes_consumer_open(stream, "app", "Mailer", &mailer, &err));
    check(fes_consumer_register(audit, &err));
    check(fes_consumer_register(mailer, &err));

    add(stream, "USR_ADD", "1");
    add(stream, "USR_MOD", "1");
    const char *types[] = {"USR_ADD"};
    drain(audit, "audit", NULL, 0);
    drain(mailer, "mailer", types, 1);
    add(stream, "USR_ADD", "2");
    drain(audit, "audit", NULL, 0);
    drain(mailer, "mailer", types, 1);

    fes_consumer_close(audit);
    fes_consumer_close(mailer);
    fes_stream_close(stream);
    return 0;
}
