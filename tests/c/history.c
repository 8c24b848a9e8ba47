/* The warehouse, the archiver and the discarder, when all is well. */
#include "check.h"
#include <unistd.h>

static atomic_int history_stops, archived, late_events;

static void on_history(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error) {
    CHECK(user == &archived && text != NULL);
    if (error != NULL && fes_error_code(error) == FES_LATE_EVENT)
        atomic_fetch_add(&late_events, 1);
    if (notice == FES_NOTICE_STOPPED)
        atomic_fetch_add(&history_stops, 1);
    if (notice == FES_NOTICE_PROCESSED_EVENTS)
        atomic_fetch_add(&archived, (int)number);
}

/* An id below those that were archived: found, told of and copied by the archiver. */
static void archive_late_events(void) {
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    fes_archiver *archiver = NULL;
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_set_on_notice(archiver, on_history, &archived, NULL, ERR));
    atomic_store(&late_events, 0);
    const char *ids[] = {"3", "9", "5"};
    for (int i = 0; i < 3; i++) {
        char sql[120];
        snprintf(sql, sizeof sql, "INSERT INTO evt_queue(id, type, data, ts) VALUES (%s, 'A', '1', datetime('now'))",
                 ids[i]);
        fes_tx *tx = NULL;
        OK(fes_stream_begin(stream, &tx, ERR));
        OK(fes_tx_execute(tx, sql, NULL, 0, NULL, ERR));
        OK(fes_tx_commit(tx, ERR));
        fes_tx_free(tx);
        OK(fes_archiver_run_once(archiver, NULL, ERR));
        CHECK(atomic_load(&late_events) == (i == 2));
    }
    fes_events *got = NULL;
    OK(fes_warehouse_history(dwh, 1, NULL, 0, 10, &got, ERR));
    CHECK(fes_events_count(got) == 3 && fes_events_get(got, 1)->id == 5);
    fes_events_free(got);
    fes_archiver_close(archiver);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}

void test_history(void) {
    archive_late_events();
    fes_stream *stream = open_memory();
    fes_warehouse *dwh = NULL;
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    CHECK(fes_warehouse_kind(dwh) == FES_KIND_SQLITE);
    OK(fes_warehouse_migrate(dwh, ERR));
    fes_archiver *archiver = NULL;
    fes_discarder *discarder = NULL;
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_archiver_set_on_notice(archiver, on_history, &archived, NULL, ERR));
    OK(fes_discarder_set_on_notice(discarder, on_history, &archived, NULL, ERR));
    fes_new_event events[3] = {{"OLD", "1", 1}, {"OLD", "2", 1}, {"LAST", "3", 1}};
    uint64_t ids[3], count = 0;
    OK(fes_stream_add_events(stream, events, 3, sizeof(fes_new_event), ids, ERR));
    OK(fes_archiver_run_once(archiver, &count, ERR));
    CHECK(count == 3);
    OK(fes_discarder_run_once(discarder, &count, ERR));
    CHECK(count == 2); /* the newest stays */
    fes_text *report = NULL;
    const char *roles[] = {"generator"};
    OK(fes_stream_doctor_json(stream, dwh, roles, 1, &report, ERR));
    CHECK(strstr(fes_text_data(report, NULL), "\"name\":\"role_generator\",\"status\":\"ok\""));
    CHECK(!strstr(fes_text_data(report, NULL), "\"failure\""));
    fes_text_free(report);
    OK(fes_stream_verify_json(stream, dwh, 1, 0, 20, &report, ERR));
    CHECK(strstr(fes_text_data(report, NULL), "\"in_history\":2,"));
    CHECK(strstr(fes_text_data(report, NULL), "\"findings\":[]}"));
    fes_text_free(report);
    OK(fes_stream_verify_json(stream, NULL, ids[1], ids[2], 20, &report, ERR));
    CHECK(strstr(fes_text_data(report, NULL), "\"in_queue\":1,"));
    fes_text_free(report);
    OK(fes_archiver_run_once(archiver, NULL, ERR));
    OK(fes_discarder_run_once(discarder, NULL, ERR));

    fes_events *got = NULL;
    const char *types[] = {"OLD"};
    OK(fes_warehouse_history(dwh, ids[1], types, 1, 10, &got, ERR));
    CHECK(fes_events_count(got) == 1 && fes_events_get(got, 0)->id == ids[1]);
    fes_events_free(got);

    atomic_store(&archived, 0);
    atomic_store(&history_stops, 0);
    for (int n = 0; n < 2; n++) { /* the second time nothing: they are started */
        OK(fes_archiver_start(archiver, ERR));
        OK(fes_discarder_start(discarder, ERR));
    }
    CHECK(fes_archiver_is_running(archiver) && fes_discarder_is_running(discarder));
    OK(fes_stream_add_event(stream, "LATER", NULL, 0, NULL, ERR));
    wait_for_value(&archived, 1);
    OK(fes_archiver_stop(archiver, ERR));
    OK(fes_discarder_stop(discarder, ERR));
    CHECK(!fes_archiver_is_running(archiver) && !fes_discarder_is_running(discarder));
    CHECK(atomic_load(&history_stops) == 2);

    OK(fes_stream_add_event(stream, "NEW", NULL, 0, NULL, ERR));
    fes_replay *replay = NULL;
    OK(fes_replay_open(dwh, stream, 1, NULL, 0, &replay, ERR));
    CHECK(fes_replay_position(replay) == 0);
    size_t total = 0;
    for (size_t n = 1; n > 0; total += n) {
        OK(fes_replay_next(replay, 2, &got, ERR));
        n = fes_events_count(got);
        fes_events_free(got);
    }
    CHECK(total == 5 && fes_replay_position(replay) > ids[2]);
    fes_replay_close(replay);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}

void test_apps(void) {
    fes_options *options = fes_options_new();
    OK(fes_options_set(options, "enable_discarder", "true", ERR));
    fes_app *app = NULL;
    OK(fes_app_open("sqlite::memory:", "sqlite::memory:", options, &app, ERR));
    fes_options_free(options);
    OK(fes_app_migrate(app, ERR));
    OK(fes_app_set_on_notice(app, on_history, &archived, NULL, ERR));
    atomic_store(&archived, 0);
    OK(fes_app_start(app, ERR));
    OK(fes_app_start(app, ERR)); /* does nothing */
    fes_stream *stream = NULL;
    fes_warehouse *dwh = NULL;
    OK(fes_app_stream(app, &stream, ERR));
    OK(fes_app_warehouse(app, &dwh, ERR));
    OK(fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    wait_for_value(&archived, 1);
    fes_events *events = NULL;
    OK(fes_warehouse_history(dwh, 1, NULL, 0, 10, &events, ERR));
    CHECK(fes_events_count(events) == 1);
    fes_events_free(events);
    fes_app_close(app);
    FAILS(FES_CLOSED, fes_stream_add_event(stream, "A", NULL, 0, NULL, ERR));
    fes_stream_close(stream);
    fes_warehouse_close(dwh);

    OK(fes_app_open("sqlite::memory:", NULL, NULL, &app, ERR));
    REFUSED(fes_app_warehouse(app, &dwh, ERR));
    fes_app_close(app);

    char path[1000];
    snprintf(path, sizeof path, "%s/env.db", folder);
    setenv("DB_EVT_TYPE", "sqlite", 1);
    setenv("DB_EVT_DB", path, 1);
    setenv("DB_EVTDWH_TYPE", "sqlite", 1);
    snprintf(path, sizeof path, "%s/env_dwh.db", folder);
    setenv("DB_EVTDWH_DB", path, 1);
    OK(fes_stream_from_env(NULL, &stream, ERR));
    OK(fes_warehouse_from_env(NULL, &dwh, ERR));
    OK(fes_app_from_env(NULL, &app, ERR));
    fes_app_close(app);
    fes_stream_close(stream);
    fes_warehouse_close(dwh);
}
