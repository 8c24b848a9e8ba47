/* Calls on a server that goes silent: "silence" asks for that, "heal" ends it. They end when they are told to. */
#include "host.h"
#include <pthread.h>
#include <time.h>

/* On a busy machine, too; the calls themselves would take a minute. */
#define SOON 20.0

static fes_stream *stream;
static fes_warehouse *dwh;
static fes_consumer *consumer;
static fes_subscription *subscription;
static fes_replay *replay;
static fes_archiver *archiver;
static fes_discarder *discarder;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static fes_options *patient(void) {
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "call_timeout_ms", "60000", ERR));
    OK(fes_options_set(options, "connect_timeout_ms", "60000", ERR));
    return options;
}

static fes_status poll_for(fes_cancel_token *cancel, fes_error **err) {
    fes_events *events = NULL;
    return fes_consumer_poll(consumer, NULL, NULL, 0, 1000, FES_FOREVER, cancel, &events, err);
}

static fes_status next_for(fes_cancel_token *cancel, fes_error **err) {
    fes_events *events = NULL;
    return fes_subscription_next(subscription, FES_FOREVER, cancel, &events, NULL, err);
}

static fes_status replay_for(fes_cancel_token *cancel, fes_error **err) {
    fes_events *events = NULL;
    return fes_replay_next_for(replay, 10, FES_FOREVER, cancel, &events, err);
}

static fes_status archive_for(fes_cancel_token *cancel, fes_error **err) {
    return fes_archiver_run_for(archiver, FES_FOREVER, cancel, NULL, NULL, err);
}

static fes_status discard_for(fes_cancel_token *cancel, fes_error **err) {
    return fes_discarder_run_for(discarder, FES_FOREVER, cancel, NULL, NULL, err);
}

static fes_status verify_for(fes_cancel_token *cancel, fes_error **err) {
    fes_text *text = NULL;
    return fes_stream_verify_json_for(stream, NULL, 0, 0, 1, FES_FOREVER, cancel, &text, err);
}

static fes_status add(fes_cancel_token *cancel, fes_error **err) {
    (void)cancel;
    return fes_stream_add_event(stream, "A", NULL, 0, NULL, err);
}

static fes_status history(fes_cancel_token *cancel, fes_error **err) {
    (void)cancel;
    fes_events *events = NULL;
    return fes_warehouse_history(dwh, 1, NULL, 0, 10, &events, err);
}

struct running {
    fes_status (*call)(fes_cancel_token *, fes_error **);
    fes_cancel_token *cancel;
    fes_error *why;
    fes_status status;
};

static void *run(void *user) {
    struct running *running = user;
    running->status = running->call(running->cancel, &running->why);
    return NULL;
}

static void shut_stream_down(void) {
    fes_stream_shutdown(NULL);
    fes_stream_shutdown(stream);
}

static void shut_warehouse_down(void) {
    fes_warehouse_shutdown(NULL);
    fes_warehouse_shutdown(dwh);
}

/* A call that hangs, and `end` (or its token) a moment later. */
static fes_status cut(fes_status (*call)(fes_cancel_token *, fes_error **), void (*end)(void)) {
    struct running running = {call, fes_cancel_token_new(), NULL, FES_OK};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, &running) == 0);
    usleep(300000);
    double start = now();
    if (end)
        end();
    else
        fes_cancel_token_cancel(running.cancel);
    CHECK(pthread_join(thread, NULL) == 0);
    if (now() - start > SOON)
        fprintf(stderr, "it took %.1f s\n", now() - start);
    CHECK(now() - start < SOON && fes_error_code(running.why) == running.status);
    fes_error_free(running.why);
    fes_cancel_token_free(running.cancel);
    return running.status;
}

static void open_all(void) {
    fes_options *options = patient();
    OK(fes_stream_open(host_url, options, &stream, ERR));
    OK(fes_stream_migrate(stream, ERR));
    OK(fes_warehouse_open(host_url, options, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_consumer_open(stream, "app", "Silent", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    /* Before the subscription, which has to read it then. */
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_stream_subscribe(stream, "app", "Silent", NULL, 0, NULL, &subscription, ERR));
    OK(fes_replay_open(dwh, stream, 1, NULL, 0, &replay, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    fes_options_free(options);
}

static void close_all(void) {
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_replay_close(replay);
    fes_subscription_close(subscription);
    fes_consumer_close(consumer);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}

void scene_silence(void) {
    fes_status (*const CALLS[])(fes_cancel_token *, fes_error **) = {
        poll_for, next_for, replay_for, archive_for, discard_for, verify_for,
    };
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        open_all();
        ask_for("silence");
        fes_status status = cut(CALLS[i], NULL);
        if (status != FES_CANCELLED)
            fprintf(stderr, "call %zu: %s\n", i, fes_status_name(status));
        CHECK(status == FES_CANCELLED);
        /* The wait itself ends by its time. */
        fes_events *events = NULL;
        double start = now();
        OK(fes_subscription_next(subscription, 300, NULL, &events, NULL, ERR));
        CHECK(events == NULL && now() - start >= 0.3 && now() - start < SOON);
        start = now();
        close_all();
        CHECK(now() - start < SOON);
        ask_for("heal");
    }
    /* What takes no token ends with its stream, or warehouse. */
    open_all();
    ask_for("silence");
    fes_status added = cut(add, shut_stream_down);
    if (added != FES_CONNECTION_LOST && added != FES_TIMEOUT && added != FES_CLOSED)
        fprintf(stderr, "adding: %s\n", fes_status_name(added));
    CHECK(added == FES_CONNECTION_LOST || added == FES_TIMEOUT || added == FES_CLOSED);
    CHECK(add(NULL, NULL) == FES_CLOSED && next_for(NULL, NULL) == FES_CLOSED);
    fes_status read = cut(history, shut_warehouse_down);
    if (read != FES_TIMEOUT && read != FES_CLOSED)
        fprintf(stderr, "reading: %s\n", fes_status_name(read));
    CHECK(read == FES_TIMEOUT || read == FES_CLOSED);
    CHECK(history(NULL, NULL) == FES_CLOSED);
    close_all();
    ask_for("heal");
}
