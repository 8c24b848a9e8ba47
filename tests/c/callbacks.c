/* What may be called inside of each callback: it comes back, with what the header says. */
#include "host.h"
#include <pthread.h>
#include <stdatomic.h>

struct world {
    fes_stream *stream;
    fes_warehouse *dwh;
    fes_receiver *receiver, *other;
    fes_archiver *archiver;
    fes_discarder *discarder;
    fes_app *app;
    atomic_uint done;
};

static struct world w;

static void nothing(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    (void)user, (void)notice, (void)number, (void)text, (void)error;
}

static int32_t take(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 0;
}

#define wait_until(done) wait_at(done, __LINE__)
static void wait_at(unsigned done, int line) {
    for (int i = 0; i < 4000 && atomic_load(&w.done) < done; i++)
        usleep(5000);
    if (atomic_load(&w.done) < done)
        fprintf(stderr, "line %d waited for %u, and found %u\n", line, done, atomic_load(&w.done));
    CHECK(atomic_load(&w.done) >= done);
}

static void make_world(void) {
    memset(&w, 0, sizeof w);
    w.stream = host_stream();
    OK(fes_warehouse_open("sqlite::memory:", NULL, &w.dwh, ERR));
    OK(fes_warehouse_migrate(w.dwh, ERR));
}

static void end_world(void) {
    fes_receiver_close(w.receiver);
    fes_receiver_close(w.other);
    fes_archiver_close(w.archiver);
    fes_discarder_close(w.discarder);
    fes_app_close(w.app);
    fes_warehouse_close(w.dwh);
    fes_stream_close(w.stream);
}

/* What is registered holds up the discarder. */
static void forget(const char *component) {
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(w.stream, "app", component, &consumer, ERR));
    OK(fes_consumer_unregister(consumer, NULL, ERR));
    fes_consumer_close(consumer);
}

static void add(void) { OK(fes_stream_add_event(w.stream, "A", "1", 1, NULL, ERR)); }

/* What every callback may do with handles that are not its own. */
static void use_the_rest(void) {
    fes_consumer *consumer = NULL;
    fes_events *events = NULL;
    fes_subscription *subscription = NULL;
    fes_receiver *receiver = NULL;
    fes_text *text = NULL;
    fes_tx *tx = NULL;
    OK(fes_consumer_open(w.stream, "app", "Inside", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    fes_events_free(events);
    OK(fes_stream_lag_json(w.stream, &text, ERR));
    fes_text_free(text);
    OK(fes_stream_begin(w.stream, &tx, ERR));
    OK(fes_tx_add_event(tx, "INSIDE", NULL, 0, NULL, ERR));
    OK(fes_tx_rollback(tx, ERR));
    fes_tx_free(tx);
    OK(fes_stream_subscribe(w.stream, "app", "Inside", NULL, 0, NULL, &subscription, ERR));
    OK(fes_subscription_next(subscription, 0, NULL, &events, NULL, ERR));
    fes_events_free(events);
    fes_subscription_close(subscription);
    OK(fes_receiver_open(w.stream, "app", "Inside", take, NULL, NULL, &receiver, ERR));
    OK(fes_receiver_set_on_notice(receiver, nothing, NULL, NULL, ERR));
    OK(fes_receiver_start(receiver, ERR));
    OK(fes_receiver_stop(receiver, ERR));
    fes_receiver_close(receiver);
    fes_consumer_close(consumer);
    if (w.dwh) {
        fes_replay *replay = NULL;
        OK(fes_replay_open(w.dwh, w.stream, 1, NULL, 0, &replay, ERR));
        OK(fes_replay_next(replay, 1, &events, ERR));
        fes_events_free(events);
        fes_replay_close(replay);
    }
    fes_stream *another = NULL;
    OK(fes_stream_open("sqlite::memory:", NULL, &another, ERR));
    OK(fes_stream_migrate(another, ERR));
    fes_stream_close(another);
    OK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, ERR));
}

static void own_receiver_stats(void) {
    uint64_t delivered = 0;
    OK(fes_receiver_stats(w.receiver, &delivered, NULL, NULL, NULL, NULL, ERR));
}

static void own_receiver(void) {
    own_receiver_stats();
    CHECK(fes_receiver_set_on_notice(w.receiver, nothing, NULL, NULL, NULL) == FES_INVALID_ARGUMENT);
    CHECK(fes_receiver_is_running(w.receiver));
    OK(fes_receiver_start(w.receiver, ERR)); /* does nothing: it is started */
}

static int32_t in_events(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    if (atomic_load(&w.done) == 0) {
        use_the_rest();
        own_receiver();
        OK(fes_receiver_stop_for(w.receiver, FES_FOREVER, NULL, ERR));
        OK(fes_receiver_stop(w.receiver, ERR));
        atomic_fetch_add(&w.done, 1);
    }
    return 0;
}

static void in_receiver_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                               const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (notice == FES_NOTICE_READY && atomic_load(&w.done) < 3) {
        use_the_rest();
        own_receiver();
        OK(fes_receiver_stop(w.receiver, ERR));
        atomic_fetch_add(&w.done, 1);
    }
}

static void receivers(void) {
    make_world();
    add();
    OK(fes_receiver_open(w.stream, "app", "Own", in_events, NULL, NULL, &w.receiver, ERR));
    OK(fes_receiver_start(w.receiver, ERR));
    wait_until(1);
    OK(fes_receiver_stop(w.receiver, ERR));
    OK(fes_receiver_start(w.receiver, ERR)); /* stopped from inside it can be started again */
    end_world();
    make_world();
    OK(fes_receiver_open(w.stream, "app", "Own", take, NULL, NULL, &w.receiver, ERR));
    OK(fes_receiver_set_on_notice(w.receiver, in_receiver_notice, NULL, NULL, ERR));
    OK(fes_receiver_start(w.receiver, ERR));
    wait_until(1);
    end_world();
}

static void live(void) {
    make_world();
    OK(fes_receiver_open(w.stream, "app", "LIVE", in_events, NULL, NULL, &w.receiver, ERR));
    OK(fes_receiver_start(w.receiver, ERR));
    for (int i = 0; i < 4000 && atomic_load(&w.done) == 0; i++, usleep(5000))
        add(); /* it gets what comes once it is ready */
    wait_until(1);
    OK(fes_receiver_stop(w.receiver, ERR));
    end_world();
}

/* In the first notice of each kind everything is used. */
static void in_each_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (atomic_load(&w.done) & 1u << notice)
        return;
    use_the_rest();
    if (w.receiver)
        own_receiver_stats();
    if (notice == FES_NOTICE_STOPPED && w.receiver)
        OK(fes_receiver_stop(w.receiver, ERR));
    if (notice == FES_NOTICE_STOPPED && w.archiver)
        OK(fes_archiver_stop(w.archiver, ERR));
    atomic_fetch_or(&w.done, 1u << notice);
}

static void wait_for(const uint32_t *notices, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (int n = 0; n < 4000 && !(atomic_load(&w.done) & 1u << notices[i]); n++)
            usleep(5000);
    for (size_t i = 0; i < count; i++)
        CHECK(atomic_load(&w.done) & 1u << notices[i]);
}

static int32_t fail(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 7;
}

static void each_notice(void) {
    static const uint32_t first[] = {FES_NOTICE_READY, FES_NOTICE_NEW_EVENTS, FES_NOTICE_RECEIVER_ERROR,
                                     FES_NOTICE_SKIPPED};
    static const uint32_t last[] = {FES_NOTICE_WORKER_ERROR, FES_NOTICE_STOPPED};
    static const uint32_t archived[] = {FES_NOTICE_NEW_EVENTS, FES_NOTICE_PROCESSED_EVENTS};
    make_world();
    OK(fes_receiver_open(w.stream, "app", "Own", fail, NULL, NULL, &w.receiver, ERR));
    OK(fes_receiver_set_poison(w.receiver, FES_POISON_SKIP_AFTER, 1, ERR));
    OK(fes_receiver_set_on_notice(w.receiver, in_each_notice, NULL, NULL, ERR));
    OK(fes_receiver_start(w.receiver, ERR));
    add();
    wait_for(first, 4);
    forget("Own");
    add();
    wait_for(last, 2);
    end_world();
    make_world();
    OK(fes_archiver_open(w.stream, w.dwh, NULL, &w.archiver, ERR));
    OK(fes_archiver_set_on_notice(w.archiver, in_each_notice, NULL, NULL, ERR));
    add();
    OK(fes_archiver_start(w.archiver, ERR));
    wait_for(archived, 2);
    OK(fes_archiver_stop(w.archiver, ERR));
    wait_for(last + 1, 1);
    end_world();
}

static void in_archiver_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                               const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (notice != FES_NOTICE_NEW_EVENTS || atomic_load(&w.done) % 2)
        return;
    fes_error *why = NULL;
    CHECK(fes_archiver_run_once(w.archiver, NULL, &why) == FES_INVALID_ARGUMENT);
    CHECK(strstr(fes_error_message(why), "on_notice"));
    fes_error_free(why);
    CHECK(fes_archiver_run_for(w.archiver, FES_FOREVER, NULL, NULL, NULL, NULL) == FES_INVALID_ARGUMENT);
    (void)fes_archiver_is_running(w.archiver);
    OK(fes_archiver_set_on_notice(w.archiver, in_archiver_notice, NULL, NULL, ERR));
    use_the_rest();
    OK(fes_archiver_stop(w.archiver, ERR));
    OK(fes_archiver_stop_for(w.archiver, FES_FOREVER, NULL, ERR));
    atomic_fetch_add(&w.done, 1);
}

static void archivers(void) {
    make_world();
    OK(fes_archiver_open(w.stream, w.dwh, NULL, &w.archiver, ERR));
    OK(fes_archiver_set_on_notice(w.archiver, in_archiver_notice, NULL, NULL, ERR));
    add();
    OK(fes_archiver_run_once(w.archiver, NULL, ERR)); /* on this thread */
    CHECK(atomic_load(&w.done) == 1);
    atomic_store(&w.done, 2);
    add();
    OK(fes_archiver_start(w.archiver, ERR)); /* on its own */
    wait_until(3);
    end_world();
}

static void in_discarder_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                                const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (notice != FES_NOTICE_DISCARDED || atomic_load(&w.done) % 2)
        return;
    atomic_fetch_add(&w.done, 1);
    OK(fes_discarder_run_once(w.discarder, NULL, ERR));
    OK(fes_discarder_run_for(w.discarder, FES_FOREVER, NULL, NULL, NULL, ERR));
    (void)fes_discarder_is_running(w.discarder);
    OK(fes_discarder_set_on_notice(w.discarder, in_discarder_notice, NULL, NULL, ERR));
    use_the_rest();
    OK(fes_discarder_stop(w.discarder, ERR));
    OK(fes_discarder_stop_for(w.discarder, FES_FOREVER, NULL, ERR));
    atomic_fetch_add(&w.done, 10);
}

static void acknowledge_all(void) {
    fes_consumer *consumer = NULL;
    uint64_t last = 0;
    forget("Own");
    forget("Inside");
    OK(fes_consumer_open(w.stream, "app", "Done", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    for (int i = 0; i < 3; i++)
        OK(fes_stream_add_event(w.stream, "A", "1", 1, &last, ERR));
    OK(fes_consumer_acknowledge(consumer, last, ERR));
    fes_consumer_close(consumer);
}

static void discarders(void) {
    make_world();
    OK(fes_discarder_open(w.stream, NULL, &w.discarder, ERR));
    OK(fes_discarder_set_on_notice(w.discarder, in_discarder_notice, NULL, NULL, ERR));
    acknowledge_all();
    OK(fes_discarder_run_once(w.discarder, NULL, ERR)); /* on this thread */
    CHECK(atomic_load(&w.done) == 11);
    end_world();
    make_world();
    OK(fes_discarder_open(w.stream, NULL, &w.discarder, ERR));
    OK(fes_discarder_set_on_notice(w.discarder, in_discarder_notice, NULL, NULL, ERR));
    acknowledge_all();
    OK(fes_discarder_start(w.discarder, ERR)); /* on its own */
    wait_until(11);
    end_world();
}

/* Both threads of an app stop both threads, at the same time. */
static void in_app_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                          const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (notice == FES_NOTICE_STOPPED)
        return;
    usleep(50000);
    fes_stream *stream = NULL;
    OK(fes_app_stream(w.app, &stream, ERR));
    OK(fes_app_set_on_notice(w.app, in_app_notice, NULL, NULL, ERR));
    OK(fes_app_stop_for(w.app, FES_FOREVER, NULL, ERR));
    atomic_fetch_add(&w.done, 1);
}

static void apps(void) {
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "enable_discarder", "true", ERR));
    OK(fes_options_set(options, "require_archiver", "false", ERR));
    memset(&w, 0, sizeof w);
    OK(fes_app_open("sqlite::memory:", "sqlite::memory:", options, &w.app, ERR));
    fes_options_free(options);
    OK(fes_app_migrate(w.app, ERR));
    OK(fes_app_set_on_notice(w.app, in_app_notice, NULL, NULL, ERR));
    OK(fes_app_stream(w.app, &w.stream, ERR));
    acknowledge_all();
    OK(fes_app_start(w.app, ERR));
    wait_until(1);
    OK(fes_app_stop_for(w.app, FES_FOREVER, NULL, ERR));
    end_world();
}

static atomic_uint together;

static int32_t stop_each_other(void *user, uint64_t seq, const fes_events *events) {
    (void)seq, (void)events;
    atomic_fetch_add(&together, 1);
    for (int i = 0; i < 1000 && atomic_load(&together) < 2; i++)
        usleep(1000);
    OK(fes_receiver_stop(user ? w.other : w.receiver, ERR));
    OK(fes_receiver_stop_for(user ? w.other : w.receiver, FES_FOREVER, NULL, ERR));
    atomic_fetch_add(&w.done, 1);
    return 0;
}

static void two_that_stop_each_other(void) {
    make_world();
    atomic_store(&together, 0);
    OK(fes_receiver_open(w.stream, "app", "One", stop_each_other, &w, NULL, &w.receiver, ERR));
    OK(fes_receiver_open(w.stream, "app", "Two", stop_each_other, NULL, NULL, &w.other, ERR));
    add();
    OK(fes_receiver_start(w.receiver, ERR));
    OK(fes_receiver_start(w.other, ERR));
    wait_until(2);
    end_world();
}

static atomic_uint logged;

/* A log callback may call nothing that can fail: it is refused, whatever its caller holds. */
static void on_log(void *user, uint32_t level, const char *message) {
    (void)level, (void)message;
    fes_events *events = NULL;
    CHECK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, NULL) == FES_INVALID_ARGUMENT);
    CHECK(fes_stream_add_event(w.stream, "A", NULL, 0, NULL, NULL) == FES_INVALID_ARGUMENT);
    CHECK(fes_archiver_run_once(w.archiver, NULL, NULL) == FES_INVALID_ARGUMENT);
    CHECK(fes_archiver_stop(w.archiver, NULL) == FES_INVALID_ARGUMENT);
    CHECK(fes_consumer_poll(NULL, NULL, NULL, 0, 1000, 0, NULL, &events, NULL) == FES_INVALID_ARGUMENT);
    CHECK(strcmp(fes_status_name(FES_OK), "Ok") == 0);
    fes_cancel_token_cancel(user);
    atomic_fetch_add(&logged, 1);
}

static void logs(void) {
    make_world();
    fes_cancel_token *token = fes_cancel_token_new();
    OK(fes_log_set(on_log, token, NULL, FES_LOG_TRACE, ERR));
    fes_warehouse *empty = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &empty, ERR));
    OK(fes_archiver_open(w.stream, empty, NULL, &w.archiver, ERR));
    add();
    OK(fes_archiver_start(w.archiver, ERR)); /* warns: the warehouse has no table */
    for (int i = 0; i < 1000 && atomic_load(&logged) == 0; i++)
        usleep(10000);
    CHECK(atomic_load(&logged) > 0 && fes_cancel_token_is_cancelled(token));
    OK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, ERR));
    end_world();
    fes_warehouse_close(empty);
    fes_cancel_token_free(token);
}

void scene_callbacks(void) {
    receivers();
    live();
    discarders();
    archivers();
    each_notice();
    apps();
    two_that_stop_each_other();
    logs();
}
