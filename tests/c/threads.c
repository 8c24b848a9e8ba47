/* Several threads on one handle, and many rounds without growth. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define THREADS 8
#define EACH 25

static void *add(void *stream) {
    for (int i = 0; i < EACH; i++)
        OK(fes_stream_add_event(stream, "THREAD", "1", 1, NULL, ERR));
    return NULL;
}

static void *add_in_transaction(void *tx) {
    for (int i = 0; i < EACH; i++)
        OK(fes_tx_add_event(tx, "THREAD", "1", 1, NULL, ERR));
    return NULL;
}

static void on_all(void *(*run)(void *), void *handle) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, handle) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

struct waiting {
    fes_subscription *subscription;
    fes_cancel_token *cancel;
};

static void *wait_for_ever(void *user) {
    struct waiting *waiting = user;
    fes_events *events = NULL;
    FAILS(FES_CANCELLED, fes_subscription_next(waiting->subscription, FES_FOREVER, waiting->cancel,
                                               &events, NULL, ERR));
    return NULL;
}

static void *use_options(void *options) {
    for (int i = 0; i < EACH; i++) {
        OK(fes_options_set(options, "queue_max", "10", ERR));
        fes_stream *stream = NULL;
        OK(fes_stream_open("sqlite::memory:", options, &stream, ERR));
        fes_stream_close(stream);
    }
    return NULL;
}

static void *read_json(void *events) {
    for (int i = 0; i < EACH; i++) {
        const char *json = NULL;
        OK(fes_events_json(events, &json, NULL, ERR));
        CHECK(strlen(json) > 1000);
    }
    return NULL;
}

static fes_cancel_token *to_cancel;

static void on_signal(int number) {
    (void)number;
    fes_cancel_token_cancel(to_cancel);
}

void test_threads(void) {
    fes_stream *stream = open_memory();
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(stream, "c", "Threads", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    on_all(add, stream);
    fes_tx *tx = NULL;
    OK(fes_stream_begin(stream, &tx, ERR));
    on_all(add_in_transaction, tx);
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    fes_events *events = NULL;
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 2 * THREADS * EACH);
    on_all(read_json, events);
    uint64_t last = fes_events_get(events, 2 * THREADS * EACH - 1)->id;
    OK(fes_consumer_acknowledge(consumer, last, ERR));
    fes_events_free(events);
    fes_options *options = fes_options_new();
    on_all(use_options, options);
    fes_options_free(options);

    struct waiting waiting = {NULL, to_cancel = fes_cancel_token_new()};
    OK(fes_stream_subscribe(stream, "c", "Threads", NULL, 0, NULL, &waiting.subscription, ERR));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_for_ever, &waiting) == 0);
    usleep(50000);
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    fes_subscription_close(waiting.subscription);
    fes_cancel_token_free(waiting.cancel);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

static long resident_kib(void) {
    long kib = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &kib, &pages) == 2)
        kib = pages * (sysconf(_SC_PAGESIZE) / 1024);
    if (file)
        fclose(file);
    return kib;
}

static void one_round(void) {
    fes_stream *stream = open_memory();
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(stream, "c", "Round", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    fes_events *events = NULL;
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1);
    fes_events_free(events);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

void test_rounds(void) {
    const char *given = getenv("FES_ROUNDS");
    int rounds = given ? atoi(given) : 2000, warm = rounds / 10 + 1;
    int threads = 0, files = 0;
    long memory = 0;
    for (int i = 0; i < rounds; i++) {
        if (i == warm) {
            threads = entries("/proc/self/task");
            files = entries("/proc/self/fd");
            memory = resident_kib();
        }
        one_round();
    }
    for (int i = 0; i < 500 && entries("/proc/self/task") > threads; i++)
        usleep(10000);
    long grown = resident_kib() - memory;
    printf("%d rounds: %d threads, %d files, %ld KiB more memory\n", rounds,
           entries("/proc/self/task") - threads, entries("/proc/self/fd") - files, grown);
    CHECK(entries("/proc/self/task") <= threads && entries("/proc/self/fd") <= files);
    if (!getenv("FES_ROUGH_MEMORY"))
        CHECK(grown < 2048);
}
