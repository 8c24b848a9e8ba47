/* Events as they come: taken from a subscription, or given to a callback. */
#include "example.h"
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t received;

/* Called by the receiver's thread; 0 acknowledges. */
static int32_t on_events(void *user, uint64_t seq, const fes_events *events) {
    (void)seq;
    print(user, events);
    pthread_mutex_lock(&mutex);
    received += fes_events_count(events);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    return 0;
}

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    fes_consumer *audit;
    check(fes_consumer_open(stream, "app", "Audit", &audit, &err));
    check(fes_consumer_register(audit, &err));
    add(stream, "USR_ADD", "1");

    fes_subscription *subscription;
    fes_events *events;
    check(fes_stream_subscribe(stream, "app", "Audit", NULL, 0, NULL, &subscription, &err));
    check(fes_subscription_next(subscription, 10000, NULL, &events, NULL, &err));
    print("subscription", events);
    check(fes_subscription_ack(subscription, &err));
    fes_events_free(events);
    fes_subscription_close(subscription);
    fes_consumer_close(audit);

    fes_receiver *receiver; /* registers itself */
    check(fes_receiver_open(stream, "app", "Mailer", on_events, "receiver", NULL, &receiver, &err));
    check(fes_receiver_start(receiver, &err));
    add(stream, "USR_MOD", "1");
    pthread_mutex_lock(&mutex);
    while (received < 2)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    fes_receiver_close(receiver);
    fes_stream_close(stream);
    return 0;
}
