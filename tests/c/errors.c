/* Each kind of error, and what every function says after a close. */
#include "check.h"
#include <fcntl.h>
#include <unistd.h>

static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 0;
}

/* As after a restore of the events only: told once, then everything comes that is there. */
static void a_rewound_stream(void) {
    fes_stream *stream = open_memory();
    fes_consumer *consumer = NULL;
    fes_events *events = NULL;
    fes_tx *tx = NULL;
    OK(fes_consumer_open(stream, "u", "C", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_add_event(stream, "A", "1", 1, NULL, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_execute(tx, "UPDATE evt_consumers SET last_evt_id = 1000", NULL, 0, NULL, ERR));
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    fes_error *told = NULL;
    CHECK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 1000, NULL, &events, &told) == FES_STREAM_REWOUND);
    CHECK(fes_error_is_retriable(told));
    fes_error_free(told);
    CHECK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 1000, NULL, &events, NULL) == FES_OK);
    CHECK(fes_events_count(events) == 1);
    fes_events_free(events);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

static void errors_of_files(void) {
    char url[1000];
    fes_stream *stream = NULL, *other = NULL;
    fes_tx *tx = NULL, *second = NULL;
    snprintf(url, sizeof url, "sqlite:%s/no/folder.db", folder);
    FAILS(FES_CONNECT_FAILED, fes_stream_open(url, NULL, &stream, ERR));
    snprintf(url, sizeof url, "sqlite:%s/mistyped.db?create=false", folder);
    FAILS(FES_CONNECT_FAILED, fes_stream_open(url, NULL, &stream, ERR));
    snprintf(url, sizeof url, "%s/mistyped.db", folder);
    CHECK(access(url, F_OK) != 0);
    snprintf(url, sizeof url, "sqlite:%s/file.db?busy_timeout_ms=20", folder);
    OK(fes_stream_open(url, NULL, &stream, ERR));
    FAILS(FES_NOT_MIGRATED, fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    FAILS(FES_BUSY, fes_stream_begin(stream, &second, ERR));
    OK(fes_tx_execute(tx, "CREATE TABLE t(n INTEGER PRIMARY KEY)", NULL, 0, NULL, ERR));
    OK(fes_tx_execute(tx, "INSERT INTO t VALUES (1)", NULL, 0, NULL, ERR));
    FAILS(FES_CONSTRAINT, fes_tx_execute(tx, "INSERT INTO t VALUES (1)", NULL, 0, NULL, ERR));
    FAILS(FES_DATABASE, fes_tx_execute(tx, "NO SQL", NULL, 0, NULL, ERR));
    fes_error *error = NULL;
    CHECK(fes_tx_execute(tx, "INSERT INTO t VALUES (1)", NULL, 0, NULL, &error) == FES_CONSTRAINT);
    CHECK(strcmp(fes_error_sql_state(error), "1555") == 0 && !fes_error_is_retriable(error));
    fes_error_free(error);
    OK(fes_tx_execute(tx, "CREATE TABLE evt_queue(other TEXT)", NULL, 0, NULL, ERR));
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    FAILS(FES_FOREIGN_SCHEMA, fes_stream_migrate(stream, ERR));
    fes_stream_close(stream);

    snprintf(url, sizeof url, "%s/file.db", folder);
    int descriptor = open(url, O_RDONLY);
    CHECK(descriptor >= 0);
    snprintf(url, sizeof url, "sqlite:%s/file.db", folder);
    FAILS(FES_FOREIGN_SQLITE, fes_stream_open(url, NULL, &other, ERR));
    close(descriptor);
    OK(fes_stream_open(url, NULL, &other, ERR));
    fes_stream_close(other);
}

static void errors_of_history(void) {
    fes_stream *one = open_memory(), *two = open_memory();
    fes_warehouse *dwh = NULL;
    fes_archiver *first = NULL, *second = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_archiver_open(one, dwh, NULL, &first, ERR));
    OK(fes_archiver_open(two, dwh, NULL, &second, ERR));
    OK(fes_stream_add_event(one, "A", "1", 1, NULL, ERR));
    OK(fes_stream_add_event(two, "A", "2", 1, NULL, ERR));
    FAILS(FES_NOT_MIGRATED, fes_archiver_run_once(first, NULL, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_archiver_run_once(first, NULL, ERR));
    FAILS(FES_HISTORY_CONFLICT, fes_archiver_run_once(second, NULL, ERR));
    fes_archiver_close(first);
    fes_archiver_close(second);
    fes_warehouse_close(dwh);
    fes_stream_close(one);
    fes_stream_close(two);
}

void test_each_error(void) {
    fes_stream *stream = open_memory(), *s = NULL;
    fes_consumer *live = NULL, *consumer = NULL;
    fes_events *events = NULL;
    fes_subscription *first = NULL;
    fes_options *options = fes_options_new();
    const char *bad_types[] = {"lower"};
    FAILS(FES_INVALID_TYPE, fes_stream_add_event(stream, "lower", NULL, 0, NULL, ERR));
    FAILS(FES_INVALID_DATA, fes_stream_add_event(stream, "A", "{", 1, NULL, ERR));
    FAILS(FES_INVALID_DATA, fes_stream_add_event(stream, "A", "", 0, NULL, ERR));
    FAILS(FES_INVALID_COMPONENT, fes_consumer_open(stream, "u", "no-no", &consumer, ERR));
    FAILS(FES_INVALID_USER, fes_consumer_open(stream, "a:b", "C", &consumer, ERR));
    FAILS(FES_IDENT_TOO_LONG,
          fes_consumer_open(stream, "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
                            "C", &consumer, ERR));
    FAILS(FES_INVALID_OPTION, fes_options_set(options, "no", "1", ERR));
    FAILS(FES_INVALID_OPTION, fes_options_set(options, "notify", "maybe", ERR));
    FAILS(FES_INVALID_OPTION, fes_stream_open("sqlite::memory:?no=1", NULL, &s, ERR));
    FAILS(FES_INVALID_URL, fes_stream_open("gopher://x", NULL, &s, ERR));
    OK(fes_consumer_open(stream, "u", "LIVE", &live, ERR));
    OK(fes_consumer_open(stream, "u", "C", &consumer, ERR));
    FAILS(FES_LIVE_NOT_ALLOWED, fes_consumer_register(live, ERR));
    FAILS(FES_LIVE_NOT_ALLOWED, fes_consumer_unregister(live, NULL, ERR));
    FAILS(FES_NOT_REGISTERED, fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    FAILS(FES_NOT_REGISTERED, fes_stream_subscribe(stream, "u", "C", NULL, 0, NULL, &first, ERR));
    FAILS(FES_INVALID_TYPE, fes_consumer_poll(live, NULL, bad_types, 1, 1000, 0, NULL, &events, ERR));
    OK(fes_consumer_register(consumer, ERR));
    FAILS(FES_INVALID_LAST_ID, fes_consumer_acknowledge(consumer, 1000, ERR));
    fes_tx *tx = NULL;
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_execute(tx, "INSERT INTO evt_queue(type, data, ts) VALUES ('A', 'no JSON', datetime())",
                      NULL, 0, NULL, ERR));
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    const char *json = NULL;
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    FAILS(FES_CORRUPT_EVENT, fes_events_json(events, &json, NULL, ERR));
    FAILS(FES_CORRUPT_EVENT, fes_events_data_json(events, &json, NULL, ERR));
    CHECK(strcmp(fes_events_get(events, 0)->data, "no JSON") == 0);
    fes_events_free(events);
    fes_consumer_close(live);
    fes_consumer_close(consumer);
    fes_stream_close(stream);

    const char *small[] = {"max_event_bytes", "3", "allow_reliable", "false", NULL};
    stream = open_with("sqlite::memory:", small);
    FAILS(FES_TOO_LARGE, fes_stream_add_event(stream, "A", "1000", 4, NULL, ERR));
    OK(fes_consumer_open(stream, "u", "C", &consumer, ERR));
    FAILS(FES_SECURITY_ERROR, fes_consumer_register(consumer, ERR));
    fes_consumer_close(consumer);
    fes_stream_close(stream);
    fes_options_free(options);
    errors_of_files();
    errors_of_history();
}

void test_after_close(void) {
    a_rewound_stream();
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    fes_consumer *consumer = NULL;
    fes_subscription *subscription = NULL;
    fes_receiver *receiver = NULL;
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    fes_replay *replay = NULL;
    fes_tx *tx = NULL;
    fes_events *events = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_consumer_open(stream, "u", "C", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_subscribe(stream, "u", "C", NULL, 0, NULL, &subscription, ERR));
    OK(fes_receiver_open(stream, "u", "R", on_events, NULL, NULL, &receiver, ERR));
    OK(fes_receiver_start(receiver, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_start(archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_replay_open(dwh, stream, 1, NULL, 0, &replay, ERR));
    OK(fes_stream_begin(stream, &tx, ERR));
    fes_stream_close(stream);
    fes_warehouse_close(dwh);
    FAILS(FES_CLOSED, fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 1000, NULL, &events, ERR));
    FAILS(FES_CLOSED, fes_consumer_register(consumer, ERR));
    FAILS(FES_CLOSED, fes_subscription_next(subscription, 1000, NULL, &events, NULL, ERR));
    FAILS(FES_CLOSED, fes_archiver_run_once(archiver, NULL, ERR));
    FAILS(FES_CLOSED, fes_discarder_run_once(discarder, NULL, ERR));
    FAILS(FES_CLOSED, fes_replay_next(replay, 10, &events, ERR));
    CHECK(events == NULL);
    OK(fes_receiver_stop(receiver, ERR));
    fes_tx_free(tx);
    fes_replay_close(replay);
    fes_discarder_close(discarder);
    fes_archiver_close(archiver);
    fes_receiver_close(receiver);
    fes_subscription_close(subscription);
    fes_consumer_close(consumer);
}
