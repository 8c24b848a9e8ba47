/* The user data of a callback is destroyed once, when nothing needs it any more. */
#include "check.h"
#include <unistd.h>

enum { NEW, ALIVE, DESTROYED };

static atomic_int users[400];
static atomic_int made, alive;
static fes_stream *stream;

static void *make(void) {
    int at = atomic_fetch_add(&made, 1);
    CHECK(at < (int)(sizeof users / sizeof *users));
    atomic_store(&users[at], ALIVE);
    atomic_fetch_add(&alive, 1);
    return &users[at];
}

static void use(void *user) { CHECK(atomic_load((atomic_int *)user) == ALIVE); }

static void destroy(void *user) {
    fes_text *lag = NULL;
    OK(fes_stream_lag_json(stream, &lag, ERR)); /* no lock is held meanwhile */
    fes_text_free(lag);
    CHECK(atomic_exchange((atomic_int *)user, DESTROYED) == ALIVE);
    atomic_fetch_sub(&alive, 1);
}

static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)seq, (void)events;
    use(user);
    return 0;
}

static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    (void)notice, (void)number, (void)text, (void)error;
    use(user);
}

static void on_log(void *user, uint32_t level, const char *message) {
    (void)level, (void)message;
    use(user);
}

static void refused(void) {
    fes_receiver *receiver = NULL;
    REFUSED(fes_receiver_open(NULL, "u", "C", on_events, make(), destroy, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, NULL, "C", on_events, make(), destroy, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, "u", "C", NULL, make(), destroy, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, "u", "C", on_events, make(), destroy, NULL, ERR));
    FAILS(FES_INVALID_COMPONENT, fes_receiver_open(stream, "u", "?", on_events, make(), destroy, &receiver, ERR));
    REFUSED(fes_receiver_set_on_notice(NULL, on_notice, make(), destroy, ERR));
    REFUSED(fes_archiver_set_on_notice(NULL, on_notice, make(), destroy, ERR));
    REFUSED(fes_discarder_set_on_notice(NULL, on_notice, make(), destroy, ERR));
    REFUSED(fes_app_set_on_notice(NULL, on_notice, make(), destroy, ERR));
    REFUSED(fes_log_set(on_log, make(), destroy, 77, ERR));
    CHECK(atomic_load(&alive) == 0);
}

static void of_receivers(void) {
    fes_receiver *receiver = NULL;
    OK(fes_receiver_open(stream, "u", "Never", on_events, make(), destroy, &receiver, ERR));
    fes_receiver_close(receiver);
    CHECK(atomic_load(&alive) == 0);
    for (int round = 0; round < 20; round++) {
        OK(fes_receiver_open(stream, "u", "Often", on_events, make(), destroy, &receiver, ERR));
        OK(fes_receiver_set_on_notice(receiver, on_notice, make(), destroy, ERR));
        OK(fes_receiver_set_on_notice(receiver, on_notice, make(), destroy, ERR)); /* in place of the first */
        CHECK(atomic_load(&alive) == 2);
        OK(fes_receiver_start(receiver, ERR));
        OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
        REFUSED(fes_receiver_set_on_notice(receiver, on_notice, make(), destroy, ERR));
        uint64_t delivered = 0;
        for (int i = 0; i < 10000 && !delivered; i++, usleep(1000))
            OK(fes_receiver_stats(receiver, &delivered, NULL, NULL, NULL, NULL, ERR));
        CHECK(delivered > 0 && atomic_load(&alive) == 2);
        if (round % 2) {
            OK(fes_receiver_stop(receiver, ERR));
            OK(fes_receiver_start(receiver, ERR)); /* it is needed again */
        }
        fes_receiver_close(receiver);
        CHECK(atomic_load(&alive) == 0);
    }
}

static void of_history(void) {
    fes_warehouse *dwh = NULL;
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    for (int i = 0; i < 2; i++) {
        OK(fes_archiver_set_on_notice(archiver, on_notice, make(), destroy, ERR));
        OK(fes_discarder_set_on_notice(discarder, on_notice, make(), destroy, ERR));
        OK(fes_archiver_run_once(archiver, NULL, ERR));
        OK(fes_archiver_start(archiver, ERR));
        OK(fes_discarder_start(discarder, ERR));
    }
    /* At work, the one before may be in a call: then it goes after that. */
    for (int i = 0; i < 10000 && atomic_load(&alive) != 2; i++)
        usleep(1000);
    CHECK(atomic_load(&alive) == 2);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_warehouse_close(dwh);
    CHECK(atomic_load(&alive) == 0);
}

static void of_apps(const char *warehouse) {
    fes_app *app = NULL;
    OK(fes_app_open("sqlite::memory:", warehouse, NULL, &app, ERR));
    OK(fes_app_migrate(app, ERR));
    OK(fes_app_set_on_notice(app, on_notice, make(), destroy, ERR));
    CHECK(atomic_load(&alive) == (warehouse != NULL)); /* without archiver and discarder nobody tells */
    OK(fes_app_start(app, ERR));
    fes_app_close(app);
    CHECK(atomic_load(&alive) == 0);
}

void test_owners(void) {
    stream = open_memory();
    refused();
    of_receivers();
    of_history();
    of_apps("sqlite::memory:");
    of_apps(NULL);
    OK(fes_log_set(on_log, make(), destroy, FES_LOG_TRACE, ERR));
    OK(fes_log_set(on_log, make(), destroy, FES_LOG_TRACE, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    CHECK(atomic_load(&alive) == 1);
    OK(fes_log_set(NULL, make(), destroy, FES_LOG_OFF, ERR));
    CHECK(atomic_load(&alive) == 0);
    fes_stream_close(stream);
}
