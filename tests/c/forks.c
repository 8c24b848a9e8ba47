/* Handles of the process, closed when it exits, as those of C++'s static objects are: a child of fork
 * that exits closes them, too. */
#include "host.h"
#include <signal.h>
#include <sys/wait.h>

static fes_stream *stream;
static fes_warehouse *dwh;
static fes_consumer *consumer;
static fes_subscription *subscription;
static fes_receiver *receiver;
static fes_archiver *archiver;
static fes_discarder *discarder;
static fes_app *app;
static fes_replay *replay;
static fes_tx *tx;

static int32_t take(void *user, uint64_t seq, const fes_events *events) {
    (void)user, (void)seq, (void)events;
    return 0;
}

static void close_all(void) {
    fes_tx_free(tx);
    fes_replay_close(replay);
    fes_subscription_close(subscription);
    fes_consumer_close(consumer);
    fes_receiver_close(receiver);
    fes_archiver_close(archiver);
    fes_discarder_close(discarder);
    fes_app_close(app);
    fes_warehouse_close(dwh);
    fes_stream_close(stream);
}

static void open_all(void) {
    stream = host_stream();
    OK(fes_warehouse_open("sqlite::memory:", NULL, &dwh, ERR));
    OK(fes_warehouse_migrate(dwh, ERR));
    OK(fes_consumer_open(stream, "app", "Forks", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    OK(fes_stream_subscribe(stream, "app", "Forks", NULL, 0, NULL, &subscription, ERR));
    OK(fes_receiver_open(stream, "app", "Called", take, NULL, NULL, &receiver, ERR));
    OK(fes_receiver_start(receiver, ERR));
    OK(fes_archiver_open(stream, dwh, NULL, &archiver, ERR));
    OK(fes_archiver_start(archiver, ERR));
    OK(fes_discarder_open(stream, NULL, &discarder, ERR));
    OK(fes_discarder_start(discarder, ERR));
    OK(fes_app_open("sqlite::memory:", "sqlite::memory:", NULL, &app, ERR));
    OK(fes_app_migrate(app, ERR));
    OK(fes_app_start(app, ERR));
    OK(fes_replay_open(dwh, stream, 1, NULL, 0, &replay, ERR));
}

void scene_forks(void) {
    uint64_t id = 0;
    open_all();
    CHECK(atexit(close_all) == 0);
    OK(fes_stream_begin(stream, &tx, ERR));
    OK(fes_tx_add_event(tx, "OPEN", NULL, 0, &id, ERR));
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(10);
            exit(0); /* runs close_all */
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fprintf(stderr, "the child ended with %#x\n", (unsigned)status);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    /* The parent's transaction, connections and threads are as they were. */
    OK(fes_tx_commit(tx, ERR));
    fes_events *events = NULL;
    int found = 0;
    for (int i = 0; i < 100 && !found; i++) {
        OK(fes_subscription_next(subscription, 5000, NULL, &events, NULL, ERR));
        for (size_t k = 0; k < fes_events_count(events); k++)
            found |= fes_events_get(events, k)->id == id;
        fes_events_free(events);
        OK(fes_subscription_ack(subscription, ERR));
    }
    CHECK(found);
    OK(fes_stream_add_event(stream, "AFTER", NULL, 0, NULL, ERR));
    OK(fes_receiver_stop(receiver, ERR));
}
