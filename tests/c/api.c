/* What every function does when all is well. */
#include "check.h"
#include <unistd.h>

/* The layouts that src/ffi asserts, too: a binding without a C compiler relies on them. */
#define LAYOUT(is) _Static_assert(sizeof(void *) != 8 || (is), "layout")
LAYOUT(sizeof(fes_event) == 48 && _Alignof(fes_event) == 8);
LAYOUT(offsetof(fes_event, id) == 0 && offsetof(fes_event, type) == 8);
LAYOUT(offsetof(fes_event, type_len) == 16 && offsetof(fes_event, data) == 24);
LAYOUT(offsetof(fes_event, data_len) == 32 && offsetof(fes_event, ts) == 40);
LAYOUT(sizeof(fes_value) == 40 && _Alignof(fes_value) == 8);
LAYOUT(offsetof(fes_value, kind) == 0 && offsetof(fes_value, number) == 8);
LAYOUT(offsetof(fes_value, real) == 16 && offsetof(fes_value, bytes) == 24);
LAYOUT(offsetof(fes_value, len) == 32);
LAYOUT(sizeof(fes_new_event) == 24 && _Alignof(fes_new_event) == 8);
LAYOUT(offsetof(fes_new_event, type) == 0 && offsetof(fes_new_event, data) == 8);
LAYOUT(offsetof(fes_new_event, data_len) == 16);
LAYOUT(sizeof(fes_status) == 4 && sizeof(fes_value_kind) == 4 && sizeof(fes_database_kind) == 4);
LAYOUT(sizeof(fes_start) == 4 && sizeof(fes_notice) == 4 && sizeof(fes_poison_policy) == 4);
LAYOUT(sizeof(fes_log_level) == 4 && sizeof(fes_feature) == 4 && sizeof(bool) == 1);

void test_versions_and_errors(void) {
    CHECK(strcmp(fes_version(), FES_VERSION) == 0);
    CHECK(fes_abi_version() == FES_ABI_VERSION);
    uint32_t databases = FES_FEATURE_SQLITE | FES_FEATURE_POSTGRES | FES_FEATURE_MYSQL;
    CHECK((fes_features() & databases) == databases);
#ifdef FES_TLS
    CHECK(fes_features() & FES_FEATURE_TLS);
#else
    CHECK(!(fes_features() & FES_FEATURE_TLS));
#endif
    CHECK(strcmp(fes_status_name(FES_OK), "Ok") == 0);
    CHECK(strcmp(fes_status_name(FES_NOT_REGISTERED), "NotRegistered") == 0);
    CHECK(strcmp(fes_status_name(4711), "Unknown") == 0);

    fes_error *error = fes_error_new(FES_BUSY, "held");
    CHECK(fes_error_code(error) == FES_BUSY);
    CHECK(strcmp(fes_error_name(error), "Busy") == 0);
    CHECK(strcmp(fes_error_message(error), "held") == 0);
    CHECK(strcmp(fes_error_sql_state(error), "") == 0);
    CHECK(fes_error_is_retriable(error));
    fes_error_free(error);
    CHECK(fes_error_new(FES_OK, "none") == NULL);
    CHECK(fes_error_new(4711, "none") == NULL);
    CHECK(fes_error_new(FES_BUSY, NULL) == NULL);
    CHECK(fes_error_new(FES_BUSY, "\xff") == NULL);
#ifdef FES_SELFTEST
    FAILS(FES_PANIC, fes_selftest_panic(ERR));
#endif
}

void test_events(void) {
    fes_stream *stream = open_stream();
    uint64_t id = 0, ids[3] = {0, 0, 0};
    OK(fes_stream_add_event(stream, "USR_ADD", "{\"n\": 1.0}", 10, &id, ERR));
    CHECK(id > 0);
    OK(fes_stream_add_event(stream, "USR_ADD", NULL, 0, NULL, ERR));
    fes_new_event events[3] = {
        {"A", "\"\xc3\xa9\"", 4}, {"B", NULL, 0}, {"C", "[1, 2]  tail that does not count", 6}};
    OK(fes_stream_add_events(stream, events, 3, sizeof(fes_new_event), ids, ERR));
    CHECK(id < ids[0] && ids[0] < ids[1] && ids[1] < ids[2]);
    OK(fes_stream_add_events(stream, NULL, 0, sizeof(fes_new_event), NULL, ERR));

    fes_consumer *live = NULL;
    OK(fes_consumer_open(stream, "c", "LIVE", &live, ERR));
    uint64_t from = id - 1;
    fes_events *got = NULL;
    OK(fes_consumer_poll(live, &from, NULL, 0, 1000, 0, NULL, &got, ERR));
    CHECK(fes_events_count(got) == 5);
    const fes_event *event = fes_events_get(got, 0);
    CHECK(event->id == id && event->ts > 1500000000);
    CHECK(event->type_len == 7 && strcmp(event->type, "USR_ADD") == 0);
    CHECK(event->data_len == 10 && strcmp(event->data, "{\"n\": 1.0}") == 0);
    CHECK(event + 4 == fes_events_get(got, 4)); /* one array */
    CHECK(strcmp(event[1].data, "null") == 0 && strcmp(event[2].data, "\"\xc3\xa9\"") == 0);
    CHECK(strcmp(event[4].data, "[1, 2]") == 0 && fes_events_get(got, 5) == NULL);
    const char *json = NULL, *again = NULL;
    size_t len = 0;
    OK(fes_events_json(got, &json, &len, ERR));
    OK(fes_events_json(got, &again, NULL, ERR));
    CHECK(json == again && strlen(json) == len && json[0] == '[' && json[len - 1] == ']');
    CHECK(strstr(json, "\"type\":\"USR_ADD\",\"data\":{\"n\": 1.0},\"ts\":\"20") != NULL);
    const char *data = NULL;
    OK(fes_events_data_json(got, &data, &len, ERR));
    CHECK(strlen(data) == len && strncmp(data, "[{\"n\": 1.0},null,", 17) == 0 && data[len - 1] == ']');
    fes_events_free(got);
    fes_consumer_close(live);
    fes_text *lag = NULL;
    OK(fes_stream_lag_json(stream, &lag, ERR));
    CHECK(strncmp(fes_text_data(lag, &len), "{\"", 2) == 0);
    CHECK(strlen(fes_text_data(lag, NULL)) == len && strstr(fes_text_data(lag, NULL), "highest_id"));
    fes_text_free(lag);
    fes_stream_close(stream);
}

/* What a program of a later version hands in: its events are longer. */
void test_longer_events(void) {
    fes_stream *stream = open_stream();
    struct later {
        fes_new_event now;
        const char *more;
    } later[2] = {{.now = {"A", "1", 1}, .more = NULL}, {.now = {"B", "[2]", 3}, .more = NULL}};
    uint64_t ids[2] = {0, 0};
    fes_events *got = NULL;
    fes_consumer *live = NULL;
    OK(fes_stream_add_events(stream, &later[0].now, 2, sizeof(struct later), ids, ERR));
    CHECK(ids[0] > 0 && ids[1] > ids[0]);
    OK(fes_consumer_open(stream, "c", "LIVE", &live, ERR));
    ids[0]--;
    OK(fes_consumer_poll(live, ids, NULL, 0, 1000, 0, NULL, &got, ERR));
    CHECK(fes_events_count(got) == 2 && strcmp(fes_events_get(got, 1)->data, "[2]") == 0);
    fes_events_free(got);
    fes_consumer_close(live);
    /* What is not understood is not left out. */
    later[1].more = "something";
    REFUSED(fes_stream_add_events(stream, &later[0].now, 2, sizeof(struct later), NULL, ERR));
    fes_stream_close(stream);
}

void test_transactions(void) {
    fes_stream *stream = open_stream();
    int dollar = fes_stream_kind(stream) == FES_KIND_POSTGRES;
    fes_tx *tx = NULL;
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_execute(tx, "CREATE TABLE IF NOT EXISTS c_users(name VARCHAR(80), n BIGINT, r DOUBLE PRECISION)",
                      NULL, 0, NULL, ERR));
    OK(fes_tx_commit(tx, ERR));
    FAILS(FES_CLOSED, fes_tx_commit(tx, ERR));
    FAILS(FES_CLOSED, fes_tx_rollback(tx, ERR));
    FAILS(FES_CLOSED, fes_tx_execute(tx, "SELECT 1", NULL, 0, NULL, ERR));
    fes_tx_free(tx);

    OK(fes_stream_begin(stream, &tx, ERR));
    fes_value params[3] = {{.kind = FES_VALUE_TEXT, .bytes = "Ann", .len = 3},
                           {.kind = FES_VALUE_INT, .number = INT64_MIN},
                           {.kind = FES_VALUE_REAL, .real = 0.5}};
    const char *insert = dollar ? "INSERT INTO c_users(name, n, r) VALUES ($1, $2, $3)"
                                : "INSERT INTO c_users(name, n, r) VALUES (?, ?, ?)";
    uint64_t touched = 0, id = 0, ids[2] = {0, 0};
    OK(fes_tx_execute(tx, insert, params, 3, &touched, ERR));
    CHECK(touched == 1);
    params[0] = params[1] = params[2] = (fes_value){.kind = FES_VALUE_NULL};
    OK(fes_tx_execute(tx, insert, params, 3, NULL, ERR));
    OK(fes_tx_add_event(tx, "USR_ADD", "1", 1, &id, ERR));
    fes_new_event events[2] = {{"A", NULL, 0}, {"B", "2", 1}};
    OK(fes_tx_add_events(tx, events, 2, sizeof(fes_new_event), ids, ERR));
    CHECK(id > 0 && ids[0] > id && ids[1] > ids[0]);
    fes_rows *rows = NULL;
    OK(fes_tx_query(tx, "SELECT name, n, r FROM c_users ORDER BY CASE WHEN name IS NULL THEN 1 ELSE 0 END", NULL, 0,
                    &rows, ERR));
    CHECK(fes_rows_count(rows) == 2 && fes_rows_columns(rows) == 3);
    size_t len = 0;
    CHECK(strcmp(fes_rows_column_name(rows, 0, &len), "name") == 0 && len == 4);
    CHECK(strcmp(fes_rows_column_name(rows, 2, NULL), "r") == 0);
    CHECK(fes_rows_column_name(rows, 3, &len) == NULL && len == 0);
    const fes_value *value = fes_rows_get(rows, 0, 0);
    CHECK(value->kind == FES_VALUE_TEXT && value->len == 3 && strcmp(value->bytes, "Ann") == 0);
    value = fes_rows_get(rows, 0, 1);
    CHECK(value->kind == FES_VALUE_INT && value->number == INT64_MIN);
    value = fes_rows_get(rows, 0, 2);
    CHECK(value->kind == FES_VALUE_REAL && value->real > 0.4 && value->real < 0.6);
    CHECK(fes_rows_get(rows, 1, 1)->kind == FES_VALUE_NULL);
    CHECK(fes_rows_get(rows, 2, 0) == NULL && fes_rows_get(rows, 0, 3) == NULL);
    fes_rows_free(rows);
    OK(fes_tx_rollback(tx, ERR));
    fes_tx_free(tx);

    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_query(tx, "SELECT name FROM c_users", NULL, 0, &rows, ERR));
    CHECK(fes_rows_count(rows) == 0 && fes_rows_columns(rows) == 1);
    CHECK(strcmp(fes_rows_column_name(rows, 0, NULL), "name") == 0);
    fes_rows_free(rows);
    OK(fes_tx_add_event(tx, "LOST", NULL, 0, NULL, ERR));
    fes_tx_free(tx); /* rolls back */
    fes_stream_close(stream);
}

void test_statements(void) {
    fes_statement *statement = NULL;
    size_t len = 0;
    OK(fes_event_statement(FES_KIND_POSTGRES, "USR_ADD", "{}", 2, NULL, &statement, ERR));
    CHECK(strstr(fes_statement_sql(statement, &len), "VALUES ($1, CAST(CAST($2 AS text) AS json)") && len > 20);
    CHECK(strcmp(fes_statement_param(statement, 0, &len), "USR_ADD") == 0 && len == 7);
    CHECK(strcmp(fes_statement_param(statement, 1, NULL), "{}") == 0);
    CHECK(fes_statement_param(statement, 2, &len) == NULL && len == 0);
    fes_statement_free(statement);
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "event_table", "other", ERR));
    OK(fes_event_statement(FES_KIND_MYSQL, "A", NULL, 0, options, &statement, ERR));
    CHECK(strstr(fes_statement_sql(statement, NULL), "`other`"));
    fes_statement_free(statement);
    fes_options_free(options);

    fes_stream *stream = open_stream();
    OK(fes_stream_statement(stream, "USR_ADD", " {\"n\": 1.0}", 11, &statement, ERR));
    fes_value params[2];
    for (size_t i = 0; i < 2; i++) {
        params[i] = (fes_value){.kind = FES_VALUE_TEXT};
        params[i].bytes = fes_statement_param(statement, i, &params[i].len);
    }
    fes_tx *tx = NULL;
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_execute(tx, fes_statement_sql(statement, NULL), params, 2, NULL, ERR));
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    fes_statement_free(statement);
    fes_stream_close(stream);
}

void test_consumers(void) {
    fes_stream *stream = open_stream();
    fes_consumer *audit = NULL;
    bool was = true;
    OK(fes_consumer_open(stream, "c", "Audit", &audit, ERR));
    OK(fes_consumer_unregister(audit, &was, ERR));
    OK(fes_consumer_register_at(audit, FES_START_NOW, 0, ERR));
    OK(fes_consumer_register(audit, ERR));
    uint64_t id = 0;
    OK(fes_stream_add_event(stream, "OTHER", NULL, 0, NULL, ERR));
    OK(fes_stream_add_event(stream, "WANTED", NULL, 0, &id, ERR));
    const char *types[] = {"WANTED", "NEVER"};
    fes_events *events = NULL;
    OK(fes_consumer_poll(audit, NULL, types, 2, 1000, FES_FOREVER, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->id == id);
    fes_events_free(events);
    OK(fes_consumer_poll(audit, NULL, NULL, 0, 1, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->id < id);
    fes_events_free(events);
    OK(fes_consumer_acknowledge(audit, id, ERR));
    OK(fes_consumer_poll(audit, &id, NULL, 0, 1000, 30, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 0 && fes_events_get(events, 0) == NULL);
    const char *json = NULL;
    OK(fes_events_json(events, &json, NULL, ERR));
    CHECK(strcmp(json, "[]") == 0);
    fes_events_free(events);
    OK(fes_consumer_unregister(audit, &was, ERR));
    CHECK(was);
    OK(fes_consumer_unregister(audit, NULL, ERR));
    OK(fes_consumer_register_at(audit, FES_START_ID, (int64_t)id, ERR));
    OK(fes_consumer_unregister(audit, NULL, ERR));
    OK(fes_consumer_register_at(audit, FES_START_TIME, 0, ERR));
    OK(fes_consumer_unregister(audit, NULL, ERR));
    OK(fes_consumer_register_at(audit, FES_START_BEGINNING, 0, ERR));

    fes_cancel_token *cancel = fes_cancel_token_new();
    CHECK(!fes_cancel_token_is_cancelled(cancel));
    fes_cancel_token_cancel(cancel);
    CHECK(fes_cancel_token_is_cancelled(cancel));
    FAILS(FES_CANCELLED,
          fes_consumer_poll(audit, NULL, NULL, 0, 1000, FES_FOREVER, cancel, &events, ERR));
    CHECK(events == NULL);
    fes_cancel_token_free(cancel);
    OK(fes_consumer_unregister(audit, NULL, ERR));
    fes_consumer_close(audit);
    fes_stream_close(stream);
}

void test_subscriptions(void) {
    fes_stream *stream = open_stream();
    fes_consumer *push = NULL;
    OK(fes_consumer_open(stream, "c", "Push", &push, ERR));
    OK(fes_consumer_register_at(push, FES_START_NOW, 0, ERR));
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "queue_max", "100", ERR));
    fes_subscription *subscription = NULL;
    OK(fes_stream_subscribe(stream, "c", "Push", NULL, 0, options, &subscription, ERR));
    fes_options_free(options);
    fes_subscription *second = NULL;
    FAILS(FES_OCCUPIED, fes_stream_subscribe(stream, "c", "Push", NULL, 0, NULL, &second, ERR));
    fes_events *events = (fes_events *)&checks;
    uint64_t seq = 9, delivered = 9, skipped = 9, overflows = 9, id = 0;
    OK(fes_subscription_next(subscription, 0, NULL, &events, &seq, ERR));
    CHECK(events == NULL && seq == 0);
    REFUSED(fes_subscription_ack(subscription, ERR));
    for (uint64_t expected = 0; expected < 3; expected++) {
        OK(fes_stream_add_event(stream, "PUSHED", NULL, 0, &id, ERR));
        OK(fes_subscription_next(subscription, 10000, NULL, &events, &seq, ERR));
        CHECK(seq == expected && fes_events_count(events) == 1);
        CHECK(fes_events_get(events, 0)->id == id);
        fes_events_free(events);
        OK(fes_subscription_ack(subscription, ERR));
    }
    OK(fes_subscription_stats(subscription, &delivered, &skipped, &overflows, ERR));
    CHECK(delivered == 3 && skipped == 0 && overflows == 0);
    OK(fes_subscription_stats(subscription, NULL, NULL, NULL, ERR));
    fes_subscription_close(subscription);
    OK(fes_consumer_unregister(push, NULL, ERR));
    fes_consumer_close(push);
    fes_stream_close(stream);
}

static atomic_int calls, failures_left, skipped_notices, ready;

static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)seq;
    CHECK(user == &calls && fes_events_count(events) > 0);
    const char *json = NULL;
    OK(fes_events_json(events, &json, NULL, ERR));
    if (atomic_load(&failures_left) > 0) {
        atomic_fetch_sub(&failures_left, 1);
        return fes_events_refuse(events, "the disk is full");
    }
    atomic_fetch_add(&calls, (int)fes_events_count(events));
    return 0;
}

static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    CHECK(user == &ready && text != NULL && notice >= FES_NOTICE_READY);
    (void)error;
    if (notice == FES_NOTICE_READY)
        atomic_store(&ready, 1);
    if (notice == FES_NOTICE_SKIPPED && number > 0 && strcmp(text, "the disk is full") == 0)
        atomic_fetch_add(&skipped_notices, 1);
}

static void receive(fes_stream *stream, const char *component) {
    atomic_store(&calls, 0);
    atomic_store(&ready, 0);
    atomic_store(&skipped_notices, 0);
    atomic_store(&failures_left, 0);
    fes_receiver *receiver = NULL;
    OK(fes_receiver_open(stream, "c", component, on_events, &calls, NULL, &receiver, ERR));
    const char *types[] = {"RECEIVED"};
    fes_options *options = fes_options_new();
    OK(fes_receiver_set_want(receiver, types, 1, ERR));
    OK(fes_receiver_set_options(receiver, options, ERR));
    OK(fes_receiver_set_poison(receiver, FES_POISON_STOP, 0, ERR));
    OK(fes_receiver_set_poison(receiver, FES_POISON_RETRY, 0, ERR));
    OK(fes_receiver_set_poison(receiver, FES_POISON_SKIP_AFTER, 1, ERR));
    OK(fes_receiver_set_on_notice(receiver, on_notice, &ready, NULL, ERR));
    fes_options_free(options);
    OK(fes_receiver_stop(receiver, ERR));
    CHECK(!fes_receiver_is_running(receiver));
    OK(fes_receiver_start(receiver, ERR));
    OK(fes_receiver_start(receiver, ERR)); /* does nothing: it is started */
    CHECK(fes_receiver_is_running(receiver));
    REFUSED(fes_receiver_set_want(receiver, types, 1, ERR));
    wait_for_value(&ready, 1);
    OK(fes_stream_add_event(stream, "RECEIVED", NULL, 0, NULL, ERR));
    wait_for_value(&calls, 1);
    atomic_store(&failures_left, 1);
    OK(fes_stream_add_event(stream, "RECEIVED", NULL, 0, NULL, ERR));
    wait_for_value(&skipped_notices, 1);
    uint64_t delivered, skipped, overflows, failures, given_up;
    OK(fes_receiver_stats(receiver, &delivered, &skipped, &overflows, &failures, &given_up, ERR));
    CHECK(delivered == 2 && skipped == 0 && overflows == 0 && failures == 1 && given_up == 1);
    OK(fes_receiver_stop(receiver, ERR));
    OK(fes_receiver_stop(receiver, ERR));
    OK(fes_receiver_start(receiver, ERR));
    fes_receiver_close(receiver);
    CHECK(atomic_load(&calls) == 1);
}

void test_receivers(void) {
    fes_stream *stream = open_stream();
    receive(stream, "Receiver");
    receive(stream, "LIVE");
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(stream, "c", "Receiver", &consumer, ERR));
    bool was = false;
    OK(fes_consumer_unregister(consumer, &was, ERR));
    CHECK(was);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

static atomic_int messages;

static void on_log(void *user, uint32_t level, const char *message) {
    CHECK(user == &messages && level >= FES_LOG_ERROR && level <= FES_LOG_TRACE);
    CHECK(message != NULL);
    CHECK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, NULL) == FES_INVALID_ARGUMENT);
    atomic_fetch_add(&messages, 1);
}

void test_log(void) {
    OK(fes_log_set(on_log, &messages, NULL, FES_LOG_TRACE, ERR));
    REFUSED(fes_log_set(on_log, &messages, NULL, 6, ERR));
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    fes_archiver *archiver = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_start(archiver, ERR)); /* warns: the warehouse has no table */
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    for (int i = 0; i < 3000 && atomic_load(&messages) == 0; i++)
        usleep(10000);
    CHECK(atomic_load(&messages) > 0);
    OK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, ERR));
    fes_archiver_close(archiver);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}
