/* What every function does with what makes no sense. */
#include "check.h"
#include <fcntl.h>
#include <unistd.h>

static void on_log(void *user, uint32_t level, const char *message) {
    (void)user, (void)level, (void)message;
}

static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 0;
}

static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    (void)user, (void)notice, (void)number, (void)text, (void)error;
}

static void nulls_of_handles_without_errors(void) {
    fes_error_free(NULL);
    fes_options_free(NULL);
    fes_cancel_token_cancel(NULL);
    fes_cancel_token_free(NULL);
    fes_text_free(NULL);
    fes_events_free(NULL);
    fes_rows_free(NULL);
    fes_statement_free(NULL);
    fes_stream_close(NULL);
    fes_tx_free(NULL);
    fes_consumer_close(NULL);
    fes_subscription_close(NULL);
    fes_receiver_close(NULL);
    fes_warehouse_close(NULL);
    fes_replay_close(NULL);
    fes_archiver_close(NULL);
    fes_discarder_close(NULL);
    fes_app_close(NULL);
    size_t len = 9;
    CHECK(fes_error_code(NULL) == FES_OK && strcmp(fes_error_name(NULL), "Ok") == 0);
    CHECK(fes_error_message(NULL)[0] == 0 && fes_error_sql_state(NULL)[0] == 0);
    CHECK(fes_error_unreadable(NULL) == NULL);
    CHECK(!fes_error_is_retriable(NULL) && !fes_cancel_token_is_cancelled(NULL));
    CHECK(fes_text_data(NULL, &len) == NULL && len == 0);
    CHECK(fes_events_count(NULL) == 0 && fes_events_get(NULL, 0) == NULL);
    CHECK(fes_rows_count(NULL) == 0 && fes_rows_columns(NULL) == 0);
    CHECK(fes_rows_get(NULL, 0, 0) == NULL && fes_rows_column_name(NULL, 0, NULL) == NULL);
    CHECK(fes_statement_sql(NULL, NULL) == NULL && fes_statement_param(NULL, 0, NULL) == NULL);
    CHECK(fes_stream_kind(NULL) == 0 && fes_warehouse_kind(NULL) == 0);
    CHECK(!fes_archiver_is_running(NULL) && !fes_discarder_is_running(NULL) && !fes_receiver_is_running(NULL));
    CHECK(fes_replay_position(NULL) == 0);
}

static void nulls_of_opening(fes_stream *stream, fes_warehouse *dwh) {
    fes_stream *s;
    fes_warehouse *w;
    fes_app *app;
    fes_consumer *consumer;
    fes_receiver *receiver;
    fes_archiver *archiver;
    fes_discarder *discarder;
    fes_replay *replay;
    fes_subscription *subscription;
    REFUSED(fes_stream_open(NULL, NULL, &s, ERR));
    REFUSED(fes_stream_open("sqlite::memory:", NULL, NULL, ERR));
    REFUSED(fes_stream_from_env(NULL, NULL, ERR));
    REFUSED(fes_warehouse_open(NULL, NULL, &w, ERR));
    REFUSED(fes_warehouse_open("sqlite::memory:", NULL, NULL, ERR));
    REFUSED(fes_warehouse_from_env(NULL, NULL, ERR));
    REFUSED(fes_app_open(NULL, NULL, NULL, &app, ERR));
    REFUSED(fes_app_open("sqlite::memory:", NULL, NULL, NULL, ERR));
    REFUSED(fes_app_from_env(NULL, NULL, ERR));
    REFUSED(fes_consumer_open(NULL, "u", "C", &consumer, ERR));
    REFUSED(fes_consumer_open(stream, NULL, "C", &consumer, ERR));
    REFUSED(fes_consumer_open(stream, "u", NULL, &consumer, ERR));
    REFUSED(fes_consumer_open(stream, "u", "C", NULL, ERR));
    REFUSED(fes_stream_subscribe(NULL, "u", "C", NULL, 0, NULL, &subscription, ERR));
    REFUSED(fes_stream_subscribe(stream, NULL, "C", NULL, 0, NULL, &subscription, ERR));
    REFUSED(fes_stream_subscribe(stream, "u", NULL, NULL, 0, NULL, &subscription, ERR));
    REFUSED(fes_stream_subscribe(stream, "u", "C", NULL, 1, NULL, &subscription, ERR));
    REFUSED(fes_stream_subscribe(stream, "u", "C", NULL, 0, NULL, NULL, ERR));
    REFUSED(fes_receiver_open(NULL, "u", "C", on_events, NULL, NULL, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, NULL, "C", on_events, NULL, NULL, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, "u", NULL, on_events, NULL, NULL, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, "u", "C", NULL, NULL, NULL, &receiver, ERR));
    REFUSED(fes_receiver_open(stream, "u", "C", on_events, NULL, NULL, NULL, ERR));
    REFUSED(fes_archiver_open(NULL, dwh, NULL, &archiver, ERR));
    REFUSED(fes_archiver_open(stream, NULL, NULL, &archiver, ERR));
    REFUSED(fes_archiver_open(stream, dwh, NULL, NULL, ERR));
    REFUSED(fes_discarder_open(NULL, NULL, &discarder, ERR));
    REFUSED(fes_discarder_open(stream, NULL, NULL, ERR));
    REFUSED(fes_replay_open(NULL, stream, 1, NULL, 0, &replay, ERR));
    REFUSED(fes_replay_open(dwh, NULL, 1, NULL, 0, &replay, ERR));
    REFUSED(fes_replay_open(dwh, stream, 1, NULL, 1, &replay, ERR));
    REFUSED(fes_replay_open(dwh, stream, 1, NULL, 0, NULL, ERR));
    CHECK(s == NULL && w == NULL && app == NULL && consumer == NULL && receiver == NULL);
    CHECK(archiver == NULL && discarder == NULL && replay == NULL && subscription == NULL);
}

static void nulls_of_streams(fes_stream *stream) {
    uint64_t id = 9;
    fes_new_event event = {NULL, NULL, 0};
    fes_statement *statement;
    fes_text *text;
    fes_tx *tx;
    fes_rows *rows;
    REFUSED(fes_stream_migrate(NULL, ERR));
    REFUSED(fes_stream_add_event(NULL, "A", NULL, 0, &id, ERR));
    CHECK(id == 0);
    REFUSED(fes_stream_add_event(stream, NULL, NULL, 0, &id, ERR));
    REFUSED(fes_stream_add_event(stream, "A", NULL, 1, &id, ERR));
    REFUSED(fes_stream_add_events(NULL, NULL, 0, sizeof(fes_new_event), NULL, ERR));
    REFUSED(fes_stream_add_events(stream, NULL, 1, sizeof(fes_new_event), NULL, ERR));
    REFUSED(fes_stream_add_events(stream, &event, 1, sizeof(fes_new_event), NULL, ERR));
    event = (fes_new_event){"A", "1", 1};
    REFUSED(fes_stream_add_events(stream, &event, 1, 0, NULL, ERR));
    REFUSED(fes_stream_add_events(stream, &event, 1, sizeof event - 8, NULL, ERR));
    REFUSED(fes_stream_add_events(stream, &event, 1, sizeof event + 4, NULL, ERR));
    REFUSED(fes_stream_add_events(stream, &event, 2, SIZE_MAX & ~(size_t)7, NULL, ERR));
    event = (fes_new_event){"A", NULL, 1};
    REFUSED(fes_stream_add_events(stream, &event, 1, sizeof(fes_new_event), NULL, ERR));
    REFUSED(fes_stream_lag_json(NULL, &text, ERR));
    REFUSED(fes_stream_lag_json(stream, NULL, ERR));
    REFUSED(fes_event_statement(FES_KIND_SQLITE, NULL, NULL, 0, NULL, &statement, ERR));
    REFUSED(fes_event_statement(FES_KIND_SQLITE, "A", NULL, 1, NULL, &statement, ERR));
    REFUSED(fes_event_statement(FES_KIND_SQLITE, "A", NULL, 0, NULL, NULL, ERR));
    REFUSED(fes_event_statement(0, "A", NULL, 0, NULL, &statement, ERR));
    REFUSED(fes_stream_statement(NULL, "A", NULL, 0, &statement, ERR));
    REFUSED(fes_stream_statement(stream, NULL, NULL, 0, &statement, ERR));
    REFUSED(fes_stream_statement(stream, "A", NULL, 1, &statement, ERR));
    REFUSED(fes_stream_statement(stream, "A", NULL, 0, NULL, ERR));
    REFUSED(fes_stream_begin(NULL, &tx, ERR));
    REFUSED(fes_stream_begin(stream, NULL, ERR));
    CHECK(statement == NULL && text == NULL && tx == NULL);
    OK(fes_stream_begin(stream, &tx, ERR));
    REFUSED(fes_tx_execute(NULL, "SELECT 1", NULL, 0, NULL, ERR));
    REFUSED(fes_tx_execute(tx, NULL, NULL, 0, NULL, ERR));
    REFUSED(fes_tx_execute(tx, "SELECT 1", NULL, 1, NULL, ERR));
    REFUSED(fes_tx_query(NULL, "SELECT 1", NULL, 0, &rows, ERR));
    REFUSED(fes_tx_query(tx, NULL, NULL, 0, &rows, ERR));
    REFUSED(fes_tx_query(tx, "SELECT 1", NULL, 1, &rows, ERR));
    REFUSED(fes_tx_query(tx, "SELECT 1", NULL, 0, NULL, ERR));
    REFUSED(fes_tx_add_event(NULL, "A", NULL, 0, NULL, ERR));
    REFUSED(fes_tx_add_event(tx, NULL, NULL, 0, NULL, ERR));
    REFUSED(fes_tx_add_event(tx, "A", NULL, 1, NULL, ERR));
    REFUSED(fes_tx_add_events(NULL, NULL, 0, sizeof(fes_new_event), NULL, ERR));
    REFUSED(fes_tx_add_events(tx, NULL, 1, sizeof(fes_new_event), NULL, ERR));
    REFUSED(fes_tx_commit(NULL, ERR));
    REFUSED(fes_tx_rollback(NULL, ERR));
    fes_value values[] = {{.kind = FES_VALUE_TEXT, .len = 1}, {.kind = FES_VALUE_BYTES, .len = 1}, {.kind = 7}};
    for (size_t i = 0; i < 3; i++)
        REFUSED(fes_tx_execute(tx, "SELECT ?", &values[i], 1, NULL, ERR));
    CHECK(rows == NULL);
    fes_tx_free(tx);
}

static void nulls_of_consumers(fes_stream *stream) {
    fes_consumer *consumer = NULL;
    fes_receiver *receiver = NULL;
    fes_subscription *subscription = NULL;
    fes_events *events;
    const char *types[] = {NULL};
    OK(fes_consumer_open(stream, "u", "C", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    REFUSED(fes_consumer_register(NULL, ERR));
    REFUSED(fes_consumer_register_at(NULL, FES_START_NOW, 0, ERR));
    REFUSED(fes_consumer_register_at(consumer, 4, 0, ERR));
    REFUSED(fes_consumer_register_at(consumer, FES_START_ID, -1, ERR));
    REFUSED(fes_consumer_register_at(consumer, FES_START_TIME, INT64_MAX, ERR));
    REFUSED(fes_consumer_unregister(NULL, NULL, ERR));
    REFUSED(fes_consumer_poll(NULL, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    REFUSED(fes_consumer_poll(consumer, NULL, NULL, 1, 1000, 0, NULL, &events, ERR));
    REFUSED(fes_consumer_poll(consumer, NULL, types, 1, 1000, 0, NULL, &events, ERR));
    REFUSED(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, NULL, ERR));
    REFUSED(fes_consumer_poll(consumer, NULL, NULL, 0, 0, 0, NULL, &events, ERR));
    REFUSED(fes_consumer_acknowledge(NULL, 0, ERR));
    REFUSED(fes_consumer_skip(NULL, 0, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    REFUSED(fes_events_json(events, NULL, NULL, ERR));
    REFUSED(fes_events_data_json(events, NULL, NULL, ERR));
    CHECK(fes_events_refuse(NULL, "why") == 1 && fes_events_refuse(events, NULL) == 1);
    CHECK(fes_events_refuse(events, "\xff") == 1); /* no callback was given them: forgotten */
    fes_events_free(events);
    OK(fes_stream_subscribe(stream, "u", "C", NULL, 0, NULL, &subscription, ERR));
    REFUSED(fes_subscription_next(NULL, 0, NULL, &events, NULL, ERR));
    REFUSED(fes_subscription_next(subscription, 0, NULL, NULL, NULL, ERR));
    REFUSED(fes_subscription_ack(NULL, ERR));
    REFUSED(fes_subscription_skip(NULL, 0, ERR));
    REFUSED(fes_subscription_stats(NULL, NULL, NULL, NULL, ERR));
    fes_subscription_close(subscription);
    OK(fes_receiver_open(stream, "u", "R", on_events, NULL, NULL, &receiver, ERR));
    REFUSED(fes_receiver_set_want(NULL, NULL, 0, ERR));
    REFUSED(fes_receiver_set_want(receiver, NULL, 1, ERR));
    REFUSED(fes_receiver_set_options(NULL, NULL, ERR));
    OK(fes_receiver_set_options(receiver, NULL, ERR));
    REFUSED(fes_receiver_set_poison(NULL, FES_POISON_STOP, 0, ERR));
    REFUSED(fes_receiver_set_poison(receiver, 3, 0, ERR));
    REFUSED(fes_receiver_set_poison(receiver, FES_POISON_SKIP_AFTER, 0, ERR));
    REFUSED(fes_receiver_set_on_notice(NULL, on_notice, NULL, NULL, ERR));
    REFUSED(fes_receiver_set_on_notice(receiver, NULL, NULL, NULL, ERR));
    REFUSED(fes_receiver_start(NULL, ERR));
    REFUSED(fes_receiver_stop(NULL, ERR));
    REFUSED(fes_receiver_stop_for(NULL, 0, NULL, ERR));
    REFUSED(fes_receiver_stats(NULL, NULL, NULL, NULL, NULL, NULL, ERR));
    OK(fes_receiver_stats(receiver, NULL, NULL, NULL, NULL, NULL, ERR));
    fes_receiver_close(receiver);
    fes_consumer_close(consumer);
    CHECK(events == NULL);
}

static void nulls_of_history(fes_stream *stream, fes_warehouse *dwh) {
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    fes_replay *replay = NULL;
    fes_app *app = NULL;
    fes_events *events;
    fes_stream *s;
    fes_warehouse *w;
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_replay_open(dwh, stream, 1, NULL, 0, &replay, ERR));
    OK(fes_app_open("sqlite::memory:", "sqlite::memory:", NULL, &app, ERR));
    REFUSED(fes_warehouse_migrate(NULL, ERR));
    REFUSED(fes_warehouse_history(NULL, 1, NULL, 0, 1, &events, ERR));
    REFUSED(fes_warehouse_history(dwh, 1, NULL, 1, 1, &events, ERR));
    REFUSED(fes_warehouse_history(dwh, 1, NULL, 0, 0, &events, ERR));
    REFUSED(fes_warehouse_history(dwh, 1, NULL, 0, 1, NULL, ERR));
    REFUSED(fes_replay_next(NULL, 1, &events, ERR));
    REFUSED(fes_replay_next(replay, 0, &events, ERR));
    REFUSED(fes_replay_next(replay, 1, NULL, ERR));
    REFUSED(fes_replay_next_for(NULL, 1, 0, NULL, &events, ERR));
    REFUSED(fes_replay_next_for(replay, 0, 0, NULL, &events, ERR));
    REFUSED(fes_replay_next_for(replay, 1, 0, NULL, NULL, ERR));
    REFUSED(fes_archiver_set_on_notice(NULL, on_notice, NULL, NULL, ERR));
    REFUSED(fes_archiver_set_on_notice(archiver, NULL, NULL, NULL, ERR));
    REFUSED(fes_archiver_start(NULL, ERR));
    REFUSED(fes_archiver_stop(NULL, ERR));
    REFUSED(fes_archiver_stop_for(NULL, 0, NULL, ERR));
    REFUSED(fes_archiver_run_once(NULL, NULL, ERR));
    fes_text *report = NULL;
    OK(fes_stream_verify_json(stream, NULL, 0, 0, 0, &report, ERR));
    fes_text_free(report);
    const char *nobody[] = {"nobody"}, *none[] = {NULL};
    OK(fes_stream_doctor_json(stream, NULL, NULL, 0, &report, ERR));
    fes_text_free(report);
    REFUSED(fes_stream_doctor_json(NULL, NULL, NULL, 0, &report, ERR));
    REFUSED(fes_stream_doctor_json(stream, dwh, NULL, 1, &report, ERR));
    REFUSED(fes_stream_doctor_json(stream, dwh, nobody, 1, &report, ERR));
    REFUSED(fes_stream_doctor_json(stream, dwh, none, 1, &report, ERR));
    REFUSED(fes_stream_doctor_json(stream, dwh, NULL, 0, NULL, ERR));
    REFUSED(fes_stream_verify_json(NULL, NULL, 1, 0, 20, &report, ERR));
    REFUSED(fes_stream_verify_json(stream, NULL, 1, 0, 20, NULL, ERR));
    REFUSED(fes_stream_verify_json_for(NULL, NULL, 1, 0, 20, 0, NULL, &report, ERR));
    REFUSED(fes_stream_verify_json_for(stream, NULL, 1, 0, 20, 0, NULL, NULL, ERR));
    REFUSED(fes_archiver_run_for(NULL, 0, NULL, NULL, NULL, ERR));
    REFUSED(fes_discarder_set_on_notice(NULL, on_notice, NULL, NULL, ERR));
    REFUSED(fes_discarder_set_on_notice(discarder, NULL, NULL, NULL, ERR));
    REFUSED(fes_discarder_start(NULL, ERR));
    REFUSED(fes_discarder_stop(NULL, ERR));
    REFUSED(fes_discarder_stop_for(NULL, 0, NULL, ERR));
    REFUSED(fes_discarder_run_once(NULL, NULL, ERR));
    REFUSED(fes_discarder_run_for(NULL, 0, NULL, NULL, NULL, ERR));
    REFUSED(fes_app_stream(NULL, &s, ERR));
    REFUSED(fes_app_stream(app, NULL, ERR));
    REFUSED(fes_app_warehouse(NULL, &w, ERR));
    REFUSED(fes_app_warehouse(app, NULL, ERR));
    REFUSED(fes_app_migrate(NULL, ERR));
    REFUSED(fes_app_set_on_notice(NULL, on_notice, NULL, NULL, ERR));
    REFUSED(fes_app_set_on_notice(app, NULL, NULL, NULL, ERR));
    REFUSED(fes_app_start(NULL, ERR));
    REFUSED(fes_app_stop_for(NULL, 0, NULL, ERR));
    CHECK(events == NULL && s == NULL && w == NULL);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_replay_close(replay);
    fes_app_close(app);
}

void test_nulls(void) {
    nulls_of_handles_without_errors();
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    nulls_of_opening(stream, dwh);
    nulls_of_streams(stream);
    nulls_of_consumers(stream);
    nulls_of_history(stream, dwh);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
    fes_options *options = fes_options_new();
    const char *json;
    size_t len = 9;
    REFUSED(fes_options_set(NULL, "notify", "true", ERR));
    REFUSED(fes_options_set(options, NULL, "true", ERR));
    REFUSED(fes_options_set(options, "notify", NULL, ERR));
    REFUSED(fes_events_json(NULL, &json, &len, ERR));
    CHECK(json == NULL && len == 0);
    REFUSED(fes_events_data_json(NULL, &json, &len, ERR));
    CHECK(json == NULL && len == 0);
    REFUSED(fes_log_set(on_log, NULL, NULL, 77, ERR));
    fes_options_free(options);
}

void test_texts_and_lengths(void) {
    const char *bad = "\xff\xfe", *bad_types[] = {bad}, *many[1001];
    size_t absurd[] = {SIZE_MAX, SIZE_MAX / 2 + 1, (size_t)1 << 63};
    fes_stream *stream = open_memory(), *s;
    fes_consumer *consumer = NULL;
    fes_options *options = fes_options_new();
    fes_events *events;
    fes_app *app;
    fes_tx *tx = NULL;
    REFUSED(fes_stream_open(bad, NULL, &s, ERR));
    REFUSED(fes_app_open("sqlite::memory:", bad, NULL, &app, ERR));
    REFUSED(fes_options_set(options, bad, "1", ERR));
    REFUSED(fes_options_set(options, "event_table", bad, ERR));
    REFUSED(fes_consumer_open(stream, bad, "C", &consumer, ERR));
    REFUSED(fes_consumer_open(stream, "u", bad, &consumer, ERR));
    REFUSED(fes_stream_add_event(stream, bad, NULL, 0, NULL, ERR));
    REFUSED(fes_stream_add_event(stream, "A", bad, 2, NULL, ERR));
    OK(fes_consumer_open(stream, "u", "LIVE", &consumer, ERR));
    REFUSED(fes_consumer_poll(consumer, NULL, bad_types, 1, 1000, 0, NULL, &events, ERR));
    for (size_t i = 0; i < 1001; i++)
        many[i] = "A";
    REFUSED(fes_consumer_poll(consumer, NULL, many, 1001, 1000, 0, NULL, &events, ERR));
    OK(fes_consumer_poll(consumer, NULL, many, 1000, 1000, 0, NULL, &events, ERR));
    fes_events_free(events);
    OK(fes_stream_begin(stream, &tx, ERR));
    REFUSED(fes_tx_execute(tx, bad, NULL, 0, NULL, ERR));
    fes_value value = {.kind = FES_VALUE_TEXT, .bytes = bad, .len = 2};
    REFUSED(fes_tx_execute(tx, "SELECT ?", &value, 1, NULL, ERR));
    fes_new_event event = {"A", "1", 1};
    for (size_t i = 0; i < 3; i++) {
        size_t n = absurd[i];
        REFUSED(fes_stream_add_event(stream, "A", "1", n, NULL, ERR));
        REFUSED(fes_stream_add_events(stream, &event, n, sizeof(fes_new_event), NULL, ERR));
        REFUSED(fes_tx_add_event(tx, "A", "1", n, NULL, ERR));
        REFUSED(fes_tx_execute(tx, "SELECT ?", &value, n, NULL, ERR));
        REFUSED(fes_consumer_poll(consumer, NULL, many, n, 1000, 0, NULL, &events, ERR));
        fes_value text = {.kind = FES_VALUE_BYTES, .bytes = "1", .len = n};
        REFUSED(fes_tx_execute(tx, "SELECT ?", &text, 1, NULL, ERR));
    }
    fes_tx_free(tx);
    char *huge = malloc(1 << 20);
    memset(huge, 'A', 1 << 20);
    huge[(1 << 20) - 1] = 0;
    FAILS(FES_INVALID_TYPE, fes_stream_add_event(stream, huge, NULL, 0, NULL, ERR));
    FAILS(FES_INVALID_DATA, fes_stream_add_event(stream, "A", huge, 1 << 20, NULL, ERR));
    FAILS(FES_INVALID_OPTION, fes_options_set(options, huge, huge, ERR));
    FAILS(FES_INVALID_URL, fes_stream_open(huge, NULL, &s, ERR));
    free(huge);
    uint64_t highest = UINT64_MAX;
    FAILS(FES_INVALID_LAST_ID, fes_consumer_poll(consumer, &highest, NULL, 0, 1000, 0, NULL, &events, ERR));
    FAILS(FES_INVALID_LAST_ID, fes_consumer_acknowledge(consumer, highest, ERR));
    fes_consumer_close(consumer);
    fes_options_free(options);
    fes_stream_close(stream);
}
