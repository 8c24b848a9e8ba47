/* What the system refuses is an error of the call, and nothing goes to the standard error. */
#include "host.h"
#include <malloc.h>
#include <sys/resource.h>

static int32_t take(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 0;
}

/* The user is "nobody" from here on, who may have no further thread: root has no limit. */
static void allow_no_thread(void) {
    struct rlimit limit = {1, 1};
    CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
    if (geteuid() == 0)
        CHECK(setuid(65534) == 0);
}

void scene_no_threads(void) {
    fes_stream *stream = host_stream();
    fes_warehouse *dwh = NULL;
    fes_consumer *consumer = NULL;
    fes_receiver *receiver = NULL;
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    fes_subscription *subscription = NULL;
    fes_error *why = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_consumer_open(stream, "app", "Few", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_receiver_open(stream, "app", "Called", take, NULL, NULL, &receiver, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    allow_no_thread();
    CHECK(fes_receiver_start(receiver, &why) == FES_OUT_OF_RESOURCES);
    CHECK(fes_error_is_retriable(why) && strstr(fes_error_message(why), "fes-receiver"));
    fes_error_free(why);
    CHECK(fes_archiver_start(archiver, NULL) == FES_OUT_OF_RESOURCES);
    CHECK(fes_discarder_start(discarder, NULL) == FES_OUT_OF_RESOURCES);
    fes_status status = fes_stream_subscribe(stream, "app", "Few", NULL, 0, NULL, &subscription, NULL);
    CHECK(status == FES_OUT_OF_RESOURCES && subscription == NULL);
    /* What needs no thread works. */
    fes_events *events = NULL;
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 2);
    fes_events_free(events);
    OK(fes_archiver_run_once(archiver, NULL, ERR));
    fes_receiver_close(receiver);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_consumer_close(consumer);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}

void scene_panics(void) {
#ifdef FES_SELFTEST
    fes_error *why = NULL;
    CHECK(fes_selftest_panic(&why) == FES_PANIC && strstr(fes_error_message(why), "on purpose"));
    fes_error_free(why);
#endif
}

/* From here on the process may have so many bytes more of addresses than it has now. */
static void allow_memory(size_t more) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    struct rlimit limit = {pages * (size_t)sysconf(_SC_PAGESIZE) + more, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* Large texts are copied where there is memory for them; else the call fails and changes nothing. */
void scene_no_memory(void) {
    enum { SIZE = 6 << 20 };
    CHECK(mallopt(M_MMAP_THRESHOLD, 128 << 10)); /* what is large is given back */
    fes_stream *stream = host_stream();
    fes_consumer *consumer = NULL;
    fes_tx *tx = NULL;
    fes_error *why = NULL;
    char *json = malloc(SIZE);
    memset(json, '1', SIZE);
    json[0] = json[SIZE - 1] = '"';
    fes_new_event event = {"A", json, SIZE};
    fes_value value = {.kind = FES_VALUE_TEXT, .bytes = json, .len = SIZE};
    OK(fes_consumer_open(stream, "app", "Memory", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    allow_memory(SIZE / 2);
    CHECK(fes_stream_add_event(stream, "A", json, SIZE, NULL, &why) == FES_OUT_OF_RESOURCES);
    CHECK(fes_error_is_retriable(why) && strstr(fes_error_message(why), "memory"));
    fes_error_free(why);
    CHECK(fes_stream_add_events(stream, &event, 1, sizeof event, NULL, NULL) == FES_OUT_OF_RESOURCES);
    CHECK(fes_tx_add_event(tx, "A", json, SIZE, NULL, NULL) == FES_OUT_OF_RESOURCES);
    CHECK(fes_tx_execute(tx, "SELECT ?", &value, 1, NULL, NULL) == FES_OUT_OF_RESOURCES);
    value.kind = FES_VALUE_BYTES;
    CHECK(fes_tx_execute(tx, "SELECT ?", &value, 1, NULL, NULL) == FES_OUT_OF_RESOURCES);
    fes_tx_free(tx);
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &unlimited) == 0);
    fes_events *events = NULL;
    OK(fes_stream_add_event(stream, "A", json, SIZE, NULL, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->data_len == SIZE);
    allow_memory(SIZE / 2);
    const char *text = NULL;
    CHECK(fes_events_json(events, &text, NULL, NULL) == FES_OUT_OF_RESOURCES && text == NULL);
    CHECK(fes_events_data_json(events, &text, NULL, NULL) == FES_OUT_OF_RESOURCES && text == NULL);
    fes_events_free(events);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
    free(json);
}
