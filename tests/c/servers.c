/* The errors that only a database makes: of locks, rights, broken connections, foreign tables. */
#include "check.h"
#include <pthread.h>

static uint32_t kind;

static const char *on(const char *sqlite, const char *postgres, const char *mysql) {
    return kind == FES_KIND_SQLITE ? sqlite : kind == FES_KIND_POSTGRES ? postgres : mysql;
}

static fes_tx *begin(fes_stream *stream) {
    fes_tx *tx = NULL;
    OK(fes_stream_begin(stream, &tx, ERR));
    return tx;
}

static void execute(fes_tx *tx, const char *sql) { OK(fes_tx_execute(tx, sql, NULL, 0, NULL, ERR)); }

/* The statement fails so in a transaction of its own, after those of `before`. */
static void fails(fes_stream *stream, fes_status status, const char *const before[2], const char *sql) {
    fes_tx *tx = begin(stream);
    for (int i = 0; i < 2 && before && before[i]; i++)
        execute(tx, before[i]);
    fes_error *err = NULL;
    fes_status got = fes_tx_execute(tx, sql, NULL, 0, NULL, &err);
    if (got != status)
        fprintf(stderr, "%s: %s: %s\n", sql, fes_status_name(got), fes_error_message(err));
    CHECK(got == status && fes_error_code(err) == status);
    CHECK(fes_error_is_retriable(err) == (status >= FES_CONNECT_FAILED && status <= FES_TIMEOUT));
    fes_error_free(err);
    if (kind == FES_KIND_SQLITE)
        execute(tx, "PRAGMA query_only = 0"); /* whatever `before` did: the connection is used again */
    fes_tx_free(tx);
}

/* A statement that ends the transaction behind its handle: DDL on MySQL, COMMIT everywhere. */
static void of_ended_transactions(fes_stream *stream) {
    fes_tx *tx = begin(stream);
    execute(tx, "CREATE TABLE c_numbers(n INT PRIMARY KEY, m INT)");
    OK(fes_tx_add_event(tx, "A", NULL, 0, NULL, ERR));
    const char *sql = kind == FES_KIND_MYSQL ? "CREATE TABLE c_others(n INT)" : "COMMIT";
    FAILS(FES_TRANSACTION_ENDED, fes_tx_execute(tx, sql, NULL, 0, NULL, ERR));
    FAILS(FES_TRANSACTION_ENDED, fes_tx_add_event(tx, "A", NULL, 0, NULL, ERR));
    CHECK(fes_tx_commit(tx, NULL) == FES_TRANSACTION_ENDED);
    fes_tx_free(tx);
}

static void of_statements(fes_stream *stream) {
    of_ended_transactions(stream);
    fes_tx *tx = begin(stream);
    execute(tx, "INSERT INTO c_numbers VALUES (1, 1), (2, 2)");
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    fails(stream, FES_CONSTRAINT, NULL, "INSERT INTO c_numbers VALUES (1, 3)");
    fails(stream, FES_DATABASE, NULL, "NO SQL");
    fails(stream, FES_NOT_MIGRATED, NULL, "SELECT * FROM c_missing");
    const char *role[] = {"CREATE ROLE fes_c_role", "SET LOCAL ROLE fes_c_role"};
    const char *read_only[] = {"PRAGMA query_only = 1", NULL};
    const char *schema = "INSERT INTO information_schema.TABLES(TABLE_NAME) VALUES ('a')";
    fails(stream, FES_PERMISSION_DENIED, kind == FES_KIND_SQLITE ? read_only : kind == FES_KIND_POSTGRES ? role : NULL,
          kind == FES_KIND_MYSQL ? schema : "DELETE FROM c_numbers");
}

static void of_locks(fes_stream *stream) {
    fes_tx *holder = begin(stream);
    execute(holder, "UPDATE c_numbers SET m = 3 WHERE n = 1");
    const char *short_wait[] = {
        on(NULL, "SET LOCAL lock_timeout = 30", "SET SESSION innodb_lock_wait_timeout = 1"), NULL};
    fails(stream, FES_BUSY, short_wait, "UPDATE c_numbers SET m = 4 WHERE n = 1");
    fes_tx_free(holder);
    const char *short_statement[] = {"SET LOCAL statement_timeout = 30", NULL};
    if (kind == FES_KIND_POSTGRES)
        fails(stream, FES_TIMEOUT, short_statement, "SELECT pg_sleep(10)");
}

struct update {
    fes_tx *tx;
    fes_status status;
};

static void *update_the_second(void *user) {
    struct update *update = user;
    const char *sql = "UPDATE c_numbers SET m = 5 WHERE n = 2";
    update->status = fes_tx_execute(update->tx, sql, NULL, 0, NULL, NULL);
    return NULL;
}

/* Two transactions wait for each other: the server undoes one of them. */
static void of_deadlocks(fes_stream *stream) {
    struct update first = {begin(stream), FES_OK};
    fes_tx *second = begin(stream);
    execute(first.tx, "UPDATE c_numbers SET m = 5 WHERE n = 1");
    execute(second, "UPDATE c_numbers SET m = 6 WHERE n = 2");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, update_the_second, &first) == 0);
    const char *sql = "UPDATE c_numbers SET m = 6 WHERE n = 1";
    fes_status status = fes_tx_execute(second, sql, NULL, 0, NULL, NULL);
    fes_tx_free(second);
    CHECK(pthread_join(thread, NULL) == 0);
    fes_tx_free(first.tx);
    CHECK((status == FES_CONFLICT) + (first.status == FES_CONFLICT) == 1);
    CHECK((status == FES_OK) + (first.status == FES_OK) == 1);
}

/* The session of a transaction is ended by the server. */
static void of_broken_connections(fes_stream *stream) {
    fes_tx *tx = begin(stream), *killer = begin(stream);
    fes_rows *rows = NULL;
    char sql[100];
    const char *own = on(NULL, "SELECT pg_backend_pid()::bigint", "SELECT CAST(CONNECTION_ID() AS SIGNED)");
    OK(fes_tx_query(tx, own, NULL, 0, &rows, ERR));
    snprintf(sql, sizeof sql, on("", "SELECT pg_terminate_backend(%lld)", "KILL %lld"),
             (long long)fes_rows_get(rows, 0, 0)->number);
    fes_rows_free(rows);
    execute(killer, sql);
    fes_tx_free(killer);
    fes_error *err = NULL;
    fes_status status = FES_OK;
    for (int i = 0; i < 100 && status == FES_OK; i++) {
        fes_error_free(err);
        status = fes_tx_execute(tx, "SELECT 1", NULL, 0, NULL, &err);
    }
    CHECK(fes_error_is_retriable(err) && (status == FES_CONNECTION_LOST));
    fes_error_free(err);
    CHECK(fes_tx_commit(tx, NULL) != FES_OK);
    fes_tx_free(tx);
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR)); /* the stream has other connections */
}

static void of_addresses(void) {
    fes_stream *stream = NULL;
    FAILS(FES_CONNECT_FAILED, fes_stream_open("postgres://u:p@127.0.0.1:1/d", NULL, &stream, ERR));
    FAILS(FES_CONNECT_FAILED, fes_stream_open("mysql://u:p@127.0.0.1:1/d", NULL, &stream, ERR));
    char url[1000];
    snprintf(url, sizeof url, "%s_no_such_database", db_url);
    if (kind != FES_KIND_SQLITE)
        FAILS(FES_CONNECT_FAILED, fes_stream_open(url, NULL, &stream, ERR));
}

static void of_schemas(fes_stream *stream) {
    fes_stream *other = NULL;
    fes_tx *tx = begin(stream);
    execute(tx, "CREATE TABLE c_foreign(n INT)");
    execute(tx, "INSERT INTO evt_schema(part, version) VALUES ('active:c_newer', '99.1')");
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    fes_options *options = fes_options_new();
    const char *tables[] = {"c_missing", "c_foreign", "c_newer"};
    for (size_t i = 0; i < 3; i++) {
        OK(fes_options_set(options, "event_table", tables[i], ERR));
        OK(fes_stream_open(db_url, options, &other, ERR));
        if (i == 0)
            FAILS(FES_NOT_MIGRATED, fes_stream_add_event(other, "A", NULL, 0, NULL, ERR));
        if (i == 1)
            FAILS(FES_FOREIGN_SCHEMA, fes_stream_migrate(other, ERR));
        if (i == 2)
            FAILS(FES_NEWER_SCHEMA, fes_stream_migrate(other, ERR));
        fes_stream_close(other);
    }
    fes_options_free(options);
}

/* A sequence that allocates ids out of order is met at a gap. */
static void of_unsafe_servers(void) {
    const char *own[] = {"event_table", "c_unsafe", "consumer_table", "c_unsafe_consumers", NULL};
    fes_stream *stream = open_with(db_url, own);
    fes_consumer *consumer = NULL;
    fes_events *events = NULL;
    OK(fes_consumer_open(stream, "c", "Unsafe", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    fes_tx *tx = begin(stream);
    OK(fes_tx_add_event(tx, "GAP", NULL, 0, NULL, ERR));
    fes_tx_free(tx);
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    tx = begin(stream);
    execute(tx, "ALTER SEQUENCE c_unsafe_id_seq CACHE 20");
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    FAILS(FES_UNSAFE_SERVER, fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(events == NULL);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

/* As drivers do that bind text of a type, whatever the server would say. */
static void of_typed_texts(fes_stream *stream) {
    fes_statement *statement = NULL;
    char sql[1000];
    size_t len = 0;
    OK(fes_stream_statement(stream, "TYPED", "{\"a\":1}", 7, &statement, ERR));
    fes_tx *tx = begin(stream);
    snprintf(sql, sizeof sql, "PREPARE c_typed(text, text) AS %s", fes_statement_sql(statement, &len));
    execute(tx, sql);
    execute(tx, "EXECUTE c_typed('TYPED', '{\"a\":1}')");
    fes_tx_free(tx);
    fes_statement_free(statement);
}

/* Two rows after the first event that are no events: of no time, and of no JSON. */
static void add_unreadable_rows(fes_stream *stream) {
    fes_tx *tx = begin(stream);
    if (kind == FES_KIND_POSTGRES)
        execute(tx, "ALTER TABLE c_rows ALTER data TYPE text");
    if (kind == FES_KIND_MYSQL)
        execute(tx, "SET SESSION sql_mode = ''");
    execute(tx, on("INSERT INTO c_rows(type, data, ts) VALUES ('B', '1', 'yesterday')",
                   "INSERT INTO c_rows(type, data, ts) VALUES ('B', '1', 'infinity')",
                   "INSERT INTO c_rows(type, data, ts) VALUES ('B', '1', '0000-00-00 00:00:00')"));
    execute(tx, on("INSERT INTO c_rows(type, data, ts) VALUES ('C', '{', datetime('now'))",
                   "INSERT INTO c_rows(type, data, ts) VALUES ('C', '{', now())",
                   "INSERT INTO c_rows(type, data, ts) VALUES ('C', '{', UTC_TIMESTAMP())"));
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
}

static void is_unreadable(fes_error *err, uint64_t id, const char *column, const char *type, const char *data) {
    const fes_unreadable *row = fes_error_unreadable(err);
    CHECK(fes_error_code(err) == FES_CORRUPT_EVENT && row != NULL && row->id == id);
    CHECK(strcmp(row->column, column) == 0 && row->ts[0] != 0);
    CHECK(strcmp(row->type, type) == 0 && row->type_len == strlen(type));
    CHECK(strcmp(row->data, data) == 0 && row->data_len == strlen(data));
    fes_error_free(err);
}

/* What comes before a row that cannot be read comes first, and exactly that row can be passed over. */
static void of_unreadable_rows(void) {
    const char *own[] = {"event_table", "c_rows", "consumer_table", "c_rows_consumers", "check_json", "true", NULL};
    fes_stream *stream = open_with(db_url, own);
    fes_consumer *consumer = NULL;
    fes_subscription *subscription = NULL;
    fes_events *events = NULL;
    fes_error *err = NULL;
    uint64_t first = 0, last = 0;
    OK(fes_consumer_open(stream, "c", "Rows", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, &first, ERR));
    add_unreadable_rows(stream);
    OK(fes_stream_add_event(stream, "D", NULL, 0, &last, ERR));
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->id == first);
    fes_events_free(events);
    CHECK(fes_consumer_poll(consumer, &first, NULL, 0, 1000, 0, NULL, &events, &err) == FES_CORRUPT_EVENT);
    is_unreadable(err, first + 1, "ts", "B", "1");
    REFUSED(fes_consumer_skip(consumer, last, ERR));
    OK(fes_consumer_skip(consumer, first + 1, ERR));
    OK(fes_stream_subscribe(stream, "c", "Rows", NULL, 0, NULL, &subscription, ERR));
    CHECK(fes_subscription_next(subscription, 20000, NULL, &events, NULL, &err) == FES_CORRUPT_EVENT);
    is_unreadable(err, first + 2, "data", "C", "{");
    REFUSED(fes_subscription_skip(subscription, last, ERR));
    OK(fes_subscription_skip(subscription, first + 2, ERR));
    OK(fes_subscription_next(subscription, 20000, NULL, &events, NULL, ERR));
    CHECK(fes_events_count(events) == 1 && fes_events_get(events, 0)->id == last);
    fes_events_free(events);
    fes_subscription_close(subscription);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
}

void test_errors_of_databases(void) {
    fes_stream *stream = open_stream();
    kind = fes_stream_kind(stream);
    of_statements(stream);
    of_addresses();
    of_schemas(stream);
    of_unreadable_rows();
    if (kind != FES_KIND_SQLITE) {
        of_locks(stream);
        of_deadlocks(stream);
        of_broken_connections(stream);
    }
    if (kind == FES_KIND_POSTGRES) {
        of_typed_texts(stream);
        of_unsafe_servers();
    }
    fes_stream_close(stream);
}
