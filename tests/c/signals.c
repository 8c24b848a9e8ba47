/* Connections that the server cuts: SIGPIPE has its default disposition here, which ends the
 * process. */
#include "host.h"
#include <signal.h>
#include <stdatomic.h>

static int is_blocked(void) {
    sigset_t mask;
    sigemptyset(&mask);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, SIGPIPE);
}

static int waits(void) {
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE);
}

static void is_as_it_was(void) {
    struct sigaction action;
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(!is_blocked() && !waits());
}

/* Above what the kernel keeps for a peer that does not read: more than one write, of which the later
 * ones find the connection reset. */
#define BIG 3000000

void scene_cut_calls(void) {
    signal(SIGPIPE, SIG_DFL);
    char *big = malloc(BIG);
    CHECK(big);
    memset(big, '1', BIG);
    big[0] = big[BIG - 1] = '"';
    fes_stream *stream = host_stream();
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(stream, "app", "Cut", &consumer, ERR));
    OK(fes_consumer_register(consumer, ERR));
    unsigned failed = 0;
    for (int round = 0; round < 3; round++) {
        fes_tx *tx = NULL;
        fes_events *events = NULL;
        OK(fes_stream_begin(stream, &tx, ERR));
        OK(fes_tx_add_event(tx, "CUT", NULL, 0, NULL, ERR));
        OK(fes_stream_add_event(stream, "CUT", NULL, 0, NULL, ERR));
        ask_for("cut");
        for (int i = 0; i < 2; i++)
            failed += fes_tx_add_event(tx, "CUT", big, BIG, NULL, NULL) != FES_OK;
        failed += fes_tx_commit(tx, NULL) != FES_OK;
        fes_tx_free(tx);
        is_as_it_was();
        failed += fes_consumer_poll(consumer, NULL, NULL, 0, 1000, 0, NULL, &events, NULL) != FES_OK;
        fes_events_free(events);
        failed += fes_stream_add_event(stream, "CUT", big, BIG, NULL, NULL) != FES_OK;
        is_as_it_was();
    }
    CHECK(failed >= 3); /* the transactions, at least */
    /* The caller's own signal is the caller's: blocked and waiting it stays so. */
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    raise(SIGPIPE);
    ask_for("cut");
    (void)fes_stream_add_event(stream, "CUT", big, BIG, NULL, NULL);
    CHECK(is_blocked() && waits());
    int taken = 0;
    CHECK(sigwait(&mask, &taken) == 0 && taken == SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    ask_for("cut"); /* closing says goodbye to servers that are gone */
    fes_consumer_close(consumer);
    fes_stream_close(stream);
    is_as_it_was();
    free(big);
}

static atomic_uint received, blocked;

static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)user;
    (void)seq;
    atomic_fetch_add(&blocked, (unsigned)is_blocked());
    atomic_fetch_add(&received, (unsigned)fes_events_count(events));
    return 0;
}

static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text,
                      const fes_error *error) {
    (void)user, (void)notice, (void)number, (void)text, (void)error;
    atomic_fetch_add(&blocked, (unsigned)is_blocked());
}

/* The program itself calls nothing while the connections are cut. */
void scene_cut_receiver(void) {
    signal(SIGPIPE, SIG_DFL);
    fes_stream *stream = host_stream();
    fes_receiver *receiver = NULL;
    OK(fes_receiver_open(stream, "app", "Idle", on_events, NULL, NULL, &receiver, ERR));
    OK(fes_receiver_set_on_notice(receiver, on_notice, NULL, NULL, ERR));
    OK(fes_receiver_start(receiver, ERR));
    for (unsigned round = 1; round <= 4; round++) {
        fes_status status;
        while ((status = fes_stream_add_event(stream, "CUT", NULL, 0, NULL, NULL)) != FES_OK)
            usleep(20000);
        while (atomic_load(&received) < round)
            usleep(5000);
        usleep(300000); /* it is idle */
        ask_for("cut");
        usleep(400000);
    }
    fes_receiver_close(receiver);
    fes_stream_close(stream);
    CHECK(atomic_load(&blocked) == 0);
    is_as_it_was();
}
