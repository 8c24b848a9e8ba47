/* The log shows no data, no parameter and no password, at any level. */
#include "host.h"
#include <pthread.h>
#include <stdatomic.h>

#define DATA "the-data-of-an-event"
#define PARAMETER "the-parameter-of-a-statement"
#define TEXT "the-text-of-a-statement"

static atomic_uint messages, secrets;
static char password[256];

static void on_log(void *user, uint32_t level, const char *message) {
    (void)user, (void)level;
    atomic_fetch_add(&messages, 1);
    const char *hidden[] = {DATA, PARAMETER, TEXT, password[0] ? password : DATA, "wrong-word"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        if (strstr(message, hidden[i])) {
            fprintf(stderr, "the log shows: %s\n", message);
            atomic_fetch_add(&secrets, 1);
        }
    }
}

/* Copies the password of the URL, and gives the URL with another one. */
static void read_password(char *wrong, size_t size) {
    const char *start = strstr(host_url, "://"), *end = strchr(host_url, '@');
    wrong[0] = 0;
    if (!start || !end || !(start = strchr(start + 3, ':')) || start > end)
        return;
    snprintf(password, sizeof password, "%.*s", (int)(end - start - 1), start + 1);
    snprintf(wrong, size, "%.*s:wrong-word%s", (int)(start - host_url), host_url, end);
}

static void statements(fes_stream *stream) {
    fes_tx *tx = NULL;
    fes_rows *rows = NULL;
    bool postgres = fes_stream_kind(stream) == FES_KIND_POSTGRES;
    fes_value value = {.kind = FES_VALUE_TEXT, .bytes = PARAMETER, .len = sizeof PARAMETER - 1};
    const char *sql = postgres ? "SELECT $1::text, '" TEXT "'" : "SELECT ?, '" TEXT "'";
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_add_event(tx, "A", "\"" DATA "\"", sizeof DATA + 1, NULL, ERR));
    OK(fes_tx_query(tx, sql, &value, 1, &rows, ERR));
    CHECK(fes_rows_count(rows) == 1 && strcmp(fes_rows_get(rows, 0, 0)->bytes, PARAMETER) == 0);
    fes_rows_free(rows);
    OK(fes_tx_commit(tx, ERR));
    fes_tx_free(tx);
    OK(fes_stream_begin(stream, &tx, ERR));
    CHECK(fes_tx_execute(tx, "NO SQL '" TEXT "'", &value, 1, NULL, NULL) != FES_OK);
    fes_tx_free(tx);
}

void scene_logs(void) {
    char wrong[4096];
    read_password(wrong, sizeof wrong);
    OK(fes_log_set(on_log, NULL, NULL, FES_LOG_TRACE, ERR));
    fes_stream *stream = host_stream(), *none = NULL;
    fes_warehouse *dwh = NULL;
    fes_archiver *archiver = NULL;
    fes_consumer *consumer = NULL;
    fes_subscription *subscription = NULL;
    fes_events *events = NULL;
    fes_new_event many[2] = {{"A", "\"" DATA "\"", sizeof DATA + 1}, {"B", "\"" DATA "\"", sizeof DATA + 1}};
    OK(fes_consumer_open(stream, "app", "Logs", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_add_event(stream, "A", many[0].data, many[0].data_len, NULL, ERR));
    OK(fes_stream_add_events(stream, many, 2, sizeof(fes_new_event), NULL, ERR));
    statements(stream);
    OK(fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, ERR));
    CHECK(fes_events_count(events) == 4);
    fes_events_free(events);
    OK(fes_stream_subscribe(stream, "app", "Logs", NULL, 0, NULL, &subscription, ERR));
    OK(fes_subscription_next(subscription, 5000, NULL, &events, NULL, ERR));
    fes_events_free(events);
    if (wrong[0])
        CHECK(fes_stream_open(wrong, NULL, &none, NULL) != FES_OK);
    OK(fes_warehouse_open(host_url, NULL, &dwh, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_start(archiver, ERR)); /* warns: the warehouse has no table yet */
    for (int i = 0; i < 6000 && atomic_load(&messages) == 0; i++)
        usleep(10000);
    OK(fes_warehouse_migrate(dwh, ERR));
    for (int i = 0; i < 6000; i++) {
        OK(fes_warehouse_history(dwh, 1, NULL, 0, 10, &events, ERR));
        size_t count = fes_events_count(events);
        fes_events_free(events);
        if (count == 4)
            break;
        usleep(10000);
    }
    ask_for("cut"); /* what broken connections say */
    fes_archiver_close(archiver);
    fes_warehouse_close(dwh);
    fes_subscription_close(subscription);
    fes_consumer_close(consumer);
    fes_stream_close(stream);
    OK(fes_log_set(NULL, NULL, NULL, FES_LOG_OFF, ERR));
    CHECK(atomic_load(&messages) > 0);
    CHECK(atomic_load(&secrets) == 0);
}
