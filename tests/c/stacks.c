/* How much stack calls use, and what becomes of a thread that has too little, or is cancelled in a call. */
#include "host.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { LARGE = 4 << 20, PAINT = 0x5a };

/* Runs a function on a painted stack: how many bytes of it were used. */
static size_t used_by(void *(*run)(void *)) {
    unsigned char *stack =
        mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(stack != MAP_FAILED);
    memset(stack, PAINT, LARGE);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, LARGE) == 0);
    CHECK(pthread_create(&thread, &attributes, run, NULL) == 0 && pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
    size_t untouched = 0;
    while (untouched < LARGE && stack[untouched] == PAINT)
        untouched++;
    munmap(stack, LARGE);
    return LARGE - untouched;
}

static void *nothing(void *arg) { return arg; }

/* As deep as JSON may be. */
static void deep(char *json, size_t depth) {
    memset(json, '[', depth);
    memset(json + depth, ']', depth);
}

static void use_stream(fes_stream *stream) {
    fes_tx *tx = NULL;
    fes_rows *rows = NULL;
    fes_text *text = NULL;
    char json[240];
    deep(json, sizeof json / 2);
    OK(fes_stream_migrate(stream, ERR));
    OK(fes_stream_add_event(stream, "A", json, sizeof json, NULL, ERR));
    fes_new_event many[2] = {{"A", json, sizeof json}, {"B", "1", 1}};
    OK(fes_stream_add_events(stream, many, 2, sizeof *many, NULL, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_add_event(tx, "A", "1", 1, NULL, ERR));
    OK(fes_tx_query(tx, "SELECT 1", NULL, 0, &rows, ERR));
    fes_rows_free(rows);
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    OK(fes_stream_begin(stream, &tx, ERR));
    CHECK(fes_tx_execute(tx, "NO SQL", NULL, 0, NULL, NULL) != FES_OK);
    fes_tx_free(tx);
    OK(fes_stream_lag_json(stream, &text, ERR));
    fes_text_free(text);
    OK(fes_stream_doctor_json(stream, NULL, NULL, 0, &text, ERR));
    fes_text_free(text);
}

static void use_consumers(fes_stream *stream) {
    fes_consumer *consumer = NULL;
    fes_subscription *subscription = NULL;
    fes_events *events = NULL;
    const char *json = NULL;
    OK(fes_consumer_open(stream, "app", "Stack", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    OK(fes_events_json(events, &json, NULL, ERR));
    OK(fes_consumer_acknowledge(consumer, fes_events_get(events, 0)->id, ERR));
    fes_events_free(events);
    OK(fes_stream_subscribe(stream, "app", "Stack", NULL, 0, NULL, &subscription, ERR));
    OK(fes_subscription_next(subscription, 5000, NULL, &events, NULL, ERR));
    fes_events_free(events);
    OK(fes_subscription_ack(subscription, ERR));
    fes_subscription_close(subscription);
    OK(fes_consumer_unregister(consumer, NULL, ERR));
    fes_consumer_close(consumer);
}

static void use_history(fes_stream *stream) {
    fes_warehouse *dwh = NULL;
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    fes_text *text = NULL;
    OK(fes_warehouse_open(host_url, NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_run_once(archiver, NULL, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_discarder_run_once(discarder, NULL, ERR));
    OK(fes_stream_verify_json(stream, dwh, 0, 0, 20, &text, ERR));
    fes_text_free(text);
    fes_discarder_close(discarder);
    fes_archiver_close(archiver);
    fes_warehouse_close(dwh);
}

static void *everything(void *arg) {
    fes_stream *stream = NULL;
    OK(fes_stream_open(host_url, NULL, &stream, ERR));
    use_stream(stream);
    use_consumers(stream);
    use_history(stream);
    fes_stream_close(stream);
    return arg;
}

static unsigned needed; /* KiB, as the error says */

/* On 32 KiB: an error in place of a crash, and what is open can be closed. */
static void *with_little(void *stream) {
    fes_error *why = NULL;
    fes_stream *none = NULL;
    CHECK(fes_stream_open(host_url, NULL, &none, &why) == FES_OUT_OF_RESOURCES && none == NULL);
    CHECK(fes_error_is_retriable(why));
    const char *text = strstr(fes_error_message(why), "a call needs ");
    CHECK(text && sscanf(text, "a call needs %u KiB", &needed) == 1);
    fes_error_free(why);
    CHECK(fes_stream_add_event(stream, "A", NULL, 0, NULL, NULL) == FES_OUT_OF_RESOURCES);
    fes_stream_close(stream);
    return NULL;
}

void scene_stacks(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 32 << 10) == 0);
    CHECK(pthread_create(&thread, &attributes, with_little, host_stream()) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
    size_t used = used_by(everything) - used_by(nothing);
    char line[100];
    snprintf(line, sizeof line, "%zu KiB of %u", (used + 1023) >> 10, needed);
    ask_for(line);
    CHECK(used + (8 << 10) <= (size_t)needed << 10);
}

static fes_consumer *consumer;
static fes_cancel_token *token;
static atomic_int inside, returned, went_on;

static void *wait_for_events(void *arg) {
    fes_events *events = NULL;
    atomic_store(&inside, 1);
    CHECK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, FES_FOREVER, token, &events, NULL) == FES_CANCELLED);
    atomic_store(&returned, 1);
    pthread_testcancel();
    atomic_store(&went_on, 1);
    return arg;
}

/* pthread_cancel takes effect when the call has returned: nothing of it is left halfway. */
void scene_cancelled_threads(void) {
    fes_stream *stream = host_stream();
    fes_events *events = NULL;
    pthread_t thread;
    void *result = NULL;
    token = fes_cancel_token_new();
    OK(fes_consumer_open(stream, "app", "Cancelled", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    CHECK(pthread_create(&thread, NULL, wait_for_events, NULL) == 0);
    while (!atomic_load(&inside))
        usleep(1000);
    usleep(100000);
    CHECK(pthread_cancel(thread) == 0);
    usleep(300000);
    CHECK(!atomic_load(&returned));
    fes_cancel_token_cancel(token);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    CHECK(atomic_load(&returned) && !atomic_load(&went_on));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1);
    fes_events_free(events);
    OK(fes_consumer_unregister(consumer, NULL, ERR));
    fes_consumer_close(consumer);
    fes_cancel_token_free(token);
    fes_stream_close(stream);
}
