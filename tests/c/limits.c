/* Waits end in the time that they are given, and when they are cancelled. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The call takes between LOW and HIGH milliseconds. */
#define TAKES(low, high, call)                                                                     \
    do {                                                                                           \
        double check_start = now_ms();                                                             \
        call;                                                                                      \
        double check_took = now_ms() - check_start;                                                \
        if (check_took < (low) || check_took > (high))                                             \
            fprintf(stderr, "%s:%d: %.0f ms\n", __FILE__, __LINE__, check_took);                     \
        CHECK(check_took >= (low) && check_took <= (high));                                        \
    } while (0)

/* A callback that is inside until it is let go. */
static atomic_int inside, let_go;
static fes_receiver *own;

static void block(void) {
    atomic_fetch_add(&inside, 1);
    while (!atomic_load(&let_go))
        usleep(1000);
}

static void wait_until_inside(int count) {
    for (int i = 0; i < 10000 && atomic_load(&inside) < count; i++)
        usleep(1000);
    CHECK(atomic_load(&inside) == count);
}

static int32_t blocking_events(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    block();
    OK(fes_receiver_stop_for(own, FES_FOREVER, NULL, ERR)); /* from inside: at once */
    return 0;
}

static void blocking_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                            const fes_error *error) {
    (void)user, (void)number, (void)text, (void)error;
    if (notice == FES_NOTICE_NEW_EVENTS || notice == FES_NOTICE_DISCARDED)
        block();
}

static void cancelling_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                              const fes_error *error) {
    (void)number, (void)text, (void)error;
    if (notice == FES_NOTICE_NEW_EVENTS || notice == FES_NOTICE_DISCARDED)
        fes_cancel_token_cancel(user);
}

static fes_cancel_token *cancelled(void) {
    fes_cancel_token *cancel = fes_cancel_token_new();
    fes_cancel_token_cancel(cancel);
    return cancel;
}

/* STOP(TIMEOUT, CANCEL, ERR) ends what is inside a callback. */
#define ENDS_IN_TIME(stop)                                                                         \
    do {                                                                                           \
        fes_cancel_token *token = cancelled();                                                           \
        wait_until_inside(1);                                                                      \
        TAKES(0, 1000, FAILS(FES_TIMEOUT, stop(0, NULL, ERR)));                                    \
        TAKES(80, 5000, FAILS(FES_TIMEOUT, stop(40, NULL, ERR))); /* FAILS calls twice */          \
        TAKES(0, 2000, FAILS(FES_CANCELLED, stop(FES_FOREVER, token, ERR)));                       \
        atomic_store(&let_go, 1);                                                                  \
        OK(stop(FES_FOREVER, NULL, ERR));                                                          \
        OK(stop(0, token, ERR));                                                                   \
        CHECK(atomic_load(&inside) == 1);                                                          \
        fes_cancel_token_free(token);                                                                    \
        atomic_store(&inside, 0);                                                                  \
        atomic_store(&let_go, 0);                                                                  \
    } while (0)

static void stopping_receivers(fes_stream *stream) {
    OK(fes_receiver_open(stream, "c", "Slow", blocking_events, NULL, NULL, &own, ERR));
#define STOP(timeout, token, err) fes_receiver_stop_for(own, timeout, token, err)
    OK(STOP(0, NULL, ERR));
    OK(fes_receiver_start(own, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    ENDS_IN_TIME(STOP);
#undef STOP
    OK(fes_receiver_start(own, ERR));
    fes_receiver_close(own);
}

static void stopping_history(fes_stream *stream, fes_archiver *archiver, fes_discarder *discarder) {
#define STOP(timeout, token, err) fes_archiver_stop_for(archiver, timeout, token, err)
    OK(STOP(0, NULL, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_archiver_set_on_notice(archiver, blocking_notice, NULL, NULL, ERR));
    OK(fes_archiver_start(archiver, ERR));
    ENDS_IN_TIME(STOP);
#undef STOP
    OK(fes_archiver_set_on_notice(archiver, cancelling_notice, NULL, NULL, ERR));
    OK(fes_archiver_run_once(archiver, NULL, ERR));
#define STOP(timeout, token, err) fes_discarder_stop_for(discarder, timeout, token, err)
    OK(STOP(0, NULL, ERR));
    OK(fes_discarder_set_on_notice(discarder, blocking_notice, NULL, NULL, ERR));
    OK(fes_discarder_start(discarder, ERR));
    ENDS_IN_TIME(STOP);
#undef STOP
}

static void running_history(fes_stream *stream, fes_archiver *archiver, fes_discarder *discarder) {
    uint64_t count = 9;
    bool complete = true;
    fes_new_event events[3] = {{"A", "1", 1}, {"A", "2", 1}, {"A", "3", 1}};
    OK(fes_stream_add_events(stream, events, 3, sizeof(fes_new_event), NULL, ERR));
    OK(fes_archiver_run_for(archiver, 0, NULL, &count, &complete, ERR));
    CHECK(count == 0 && !complete);
    fes_cancel_token *cancel = fes_cancel_token_new();
    OK(fes_archiver_set_on_notice(archiver, cancelling_notice, cancel, NULL, ERR));
    FAILS(FES_CANCELLED, fes_archiver_run_for(archiver, FES_FOREVER, cancel, &count, NULL, ERR));
    CHECK(count == 0);
    OK(fes_archiver_run_for(archiver, FES_FOREVER, NULL, &count, &complete, ERR));
    CHECK(count == 2 && complete); /* one was archived before the cancellation */
    OK(fes_archiver_run_for(archiver, 60000, NULL, NULL, NULL, ERR));
    fes_text *report = NULL;
    FAILS(FES_CANCELLED,
          fes_stream_verify_json_for(stream, NULL, 1, 0, 20, FES_FOREVER, cancel, &report, ERR));
    OK(fes_stream_verify_json_for(stream, NULL, 1, 0, 20, 0, NULL, &report, ERR));
    fes_text_free(report);
    fes_cancel_token_free(cancel);

    complete = true;
    OK(fes_discarder_run_for(discarder, 0, NULL, &count, &complete, ERR));
    CHECK(count == 0 && !complete);
    cancel = fes_cancel_token_new();
    OK(fes_discarder_set_on_notice(discarder, cancelling_notice, cancel, NULL, ERR));
    FAILS(FES_CANCELLED, fes_discarder_run_for(discarder, FES_FOREVER, cancel, &count, NULL, ERR));
    OK(fes_discarder_run_for(discarder, FES_FOREVER, NULL, &count, &complete, ERR));
    CHECK(count == 2 && complete); /* three were left, the newest stays, one is gone */
    OK(fes_discarder_run_for(discarder, 60000, NULL, NULL, NULL, ERR));
    fes_cancel_token_free(cancel);
}

static void *add_later(void *stream) {
    usleep(100000);
    OK(fes_stream_add_event(stream, "LATER", NULL, 0, NULL, ERR));
    return NULL;
}

static void waiting_replays(fes_stream *stream, fes_warehouse *dwh) {
    fes_replay *replay = NULL;
    fes_events *events = NULL;
    const char *types[] = {"LATER"};
    OK(fes_replay_open(dwh, stream, 1, types, 1, &replay, ERR));
    TAKES(30, 5000, OK(fes_replay_next_for(replay, 10, 60, NULL, &events, ERR)));
    CHECK(events != NULL && fes_events_count(events) == 0);
    fes_events_free(events);
    OK(fes_replay_next_for(replay, 10, 0, NULL, &events, ERR));
    CHECK(events != NULL && fes_events_count(events) == 0);
    fes_events_free(events);
    fes_cancel_token *cancel = cancelled();
    FAILS(FES_CANCELLED, fes_replay_next_for(replay, 10, FES_FOREVER, cancel, &events, ERR));
    CHECK(events == NULL);
    fes_cancel_token_free(cancel);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, add_later, stream) == 0);
    OK(fes_replay_next_for(replay, 10, FES_FOREVER, NULL, &events, ERR));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->id <= fes_replay_position(replay));
    fes_events_free(events);
    fes_replay_close(replay);
}

void test_limits_of_stopping(void) {
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "archive_batch", "1", ERR));
    OK(fes_options_set(options, "limit_at_once", "1", ERR));
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_archiver_open(stream, dwh, options, &archiver, ERR));
    OK(fes_discarder_open(stream, options, &discarder, ERR));
    stopping_receivers(stream);
    fes_consumer *slow = NULL;
    OK(fes_consumer_open(stream, "c", "Slow", &slow, ERR));
    OK(fes_consumer_unregister(slow, NULL, ERR));
    fes_consumer_close(slow);
    stopping_history(stream, archiver, discarder);
    OK(fes_discarder_set_on_notice(discarder, cancelling_notice, NULL, NULL, ERR));
    OK(fes_discarder_run_once(discarder, NULL, ERR));
    running_history(stream, archiver, discarder);
    waiting_replays(stream, dwh);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);

    fes_app *app = NULL;
    OK(fes_options_set(options, "enable_discarder", "true", ERR));
    OK(fes_app_open("sqlite::memory:", "sqlite::memory:", options, &app, ERR));
    OK(fes_app_migrate(app, ERR));
#define STOP(timeout, token, err) fes_app_stop_for(app, timeout, token, err)
    OK(STOP(0, NULL, ERR));
    OK(fes_app_set_on_notice(app, blocking_notice, NULL, NULL, ERR));
    OK(fes_app_stream(app, &stream, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_app_start(app, ERR));
    ENDS_IN_TIME(STOP);
#undef STOP
    OK(fes_app_start(app, ERR));
    fes_app_close(app);
    fes_stream_close(stream);
    fes_options_free(options);
}

/* Says one byte to whoever connects, or nothing, and never more. */
struct silent {
    int listener;
    char byte;
};

static void *say_little(void *user) {
    struct silent *silent = user;
    int connection;
    while ((connection = accept(silent->listener, NULL, NULL)) >= 0)
        CHECK(silent->byte == 0 || write(connection, &silent->byte, 1) == 1);
    return NULL;
}

/* No such server holds its caller, nor leaves a thread. */
static void silent_server(char byte) {
    static const char *const forms[] = {
        "postgres://u:p@127.0.0.1:%d/d?connect_timeout_ms=150&sslmode=disable",
        "postgres://u:p@127.0.0.1:%d/d?connect_timeout_ms=150&sslmode=prefer",
        "postgres://u:p@127.0.0.1:%d/d?connect_timeout_ms=150&sslmode=require&ssl-insecure=true",
        "mysql://u:p@127.0.0.1:%d/d?connect_timeout_ms=150",
        "mysql://u:p@127.0.0.1:%d/d?connect_timeout_ms=150&ssl-mode=REQUIRED&ssl-insecure=true",
    };
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct silent silent = {socket(AF_INET, SOCK_STREAM, 0), byte};
    socklen_t len = sizeof address;
    CHECK(bind(silent.listener, (struct sockaddr *)&address, len) == 0 && listen(silent.listener, 50) == 0);
    CHECK(getsockname(silent.listener, (struct sockaddr *)&address, &len) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, say_little, &silent) == 0);
    int threads = entries("/proc/self/task");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char url[200];
        fes_stream *stream = NULL;
        snprintf(url, sizeof url, forms[i], (int)ntohs(address.sin_port));
        TAKES(byte ? 0 : 300, 5000, FAILS(FES_CONNECT_FAILED, fes_stream_open(url, NULL, &stream, ERR)));
    }
    for (int i = 0; i < 500 && entries("/proc/self/task") > threads; i++)
        usleep(10000);
    CHECK(entries("/proc/self/task") <= threads);
    shutdown(silent.listener, SHUT_RDWR);
    CHECK(pthread_join(thread, NULL) == 0);
    close(silent.listener);
}

void test_limits_of_waiting(void) {
    silent_server(0);
    silent_server('S');
    silent_server('N');
    char url[1000];
    fes_stream *stream = NULL;
    fes_tx *tx = NULL, *second = NULL;
    snprintf(url, sizeof url, "sqlite:%s/limits.db?busy_timeout_ms=150&connect_timeout_ms=150", folder);
    OK(fes_stream_open(url, NULL, &stream, ERR));
    OK(fes_stream_migrate(stream, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    TAKES(300, 5000, FAILS(FES_BUSY, fes_stream_begin(stream, &second, ERR)));
    TAKES(300, 5000, FAILS(FES_BUSY, fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR)));
    fes_tx_free(tx);
    fes_stream_close(stream);
    const char *one[] = {"max_connections", "1", "connect_timeout_ms", "150", NULL};
    stream = open_with("sqlite::memory:", one);
    OK(fes_stream_begin(stream, &tx, ERR));
    TAKES(300, 5000, FAILS(FES_CONNECT_FAILED, fes_stream_begin(stream, &second, ERR)));
    fes_tx_free(tx);
    fes_stream_close(stream);
}
