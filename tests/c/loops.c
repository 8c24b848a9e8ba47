/* Event loops: the descriptor of a subscription is readable while there is something to do. */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static int is_readable(int fd, int ms) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    int count = poll(&watched, 1, ms);
    CHECK(count >= 0 && (count == 0 || watched.revents == POLLIN));
    return count;
}

/* What Linux says the descriptor refers to; nothing else in this program makes an eventfd here. */
static int is_an_eventfd(int fd) {
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:[eventfd]") == 0;
}

static int fd_of(fes_subscription *subscription) {
    int fd = -2, again = -2;
    OK(fes_subscription_fd(subscription, &fd, ERR));
    OK(fes_subscription_fd(subscription, &again, ERR));
    CHECK(fd >= 0 && fd == again);
    return fd;
}

/* Takes and acknowledges what is there without waiting: how many events. */
static size_t take_all(fes_subscription *subscription) {
    size_t count = 0;
    for (;;) {
        fes_events *events = NULL;
        OK(fes_subscription_next(subscription, 0, NULL, &events, NULL, ERR));
        if (!events)
            return count;
        count += fes_events_count(events);
        fes_events_free(events);
        OK(fes_subscription_ack(subscription, ERR));
    }
}

/* As an event loop does it: asks only when the descriptor says so. */
static void expect(fes_subscription *subscription, size_t count) {
    int fd = fd_of(subscription);
    for (size_t taken = 0; taken < count;) {
        CHECK(is_readable(fd, 60000));
        taken += take_all(subscription);
        CHECK(taken <= count);
    }
}

/* What is readable without reason, or for what was just learnt, is so for a moment only. */
static void becomes_quiet(fes_subscription *subscription) {
    int fd = fd_of(subscription), quiet = 0;
    for (int i = 0; i < 1000 && !quiet; i++) {
        CHECK(take_all(subscription) == 0);
        quiet = !is_readable(fd, 50);
    }
    CHECK(quiet);
}

/* For one consumer: the type is its name. */
static void add(fes_stream *stream, const char *type, size_t count) {
    fes_new_event event = {type, "1", 1};
    for (size_t i = 0; i < count; i++)
        OK(fes_stream_add_events(stream, &event, 1, sizeof event, NULL, ERR));
}

static const char *slow_type;

static void *add_slowly(void *stream) {
    for (unsigned i = 0; i < 300; i++) {
        add(stream, slow_type, 1);
        usleep(i % 7 * 700);
    }
    return NULL;
}

static fes_subscription *subscribe(fes_stream *stream, const char *component) {
    fes_subscription *subscription = NULL;
    OK(fes_stream_subscribe(stream, "c", component, &component, 1, NULL, &subscription, ERR));
    return subscription;
}

static void waits_for_what_comes(fes_stream *stream, const char *component) {
    fes_subscription *subscription = subscribe(stream, component);
    becomes_quiet(subscription);
    int fd = fd_of(subscription);
    add(stream, component, 1);
    CHECK(is_readable(fd, 60000) && is_readable(fd, 0)); /* level-triggered */
    expect(subscription, 1);
    becomes_quiet(subscription);
    pthread_t writer;
    slow_type = component;
    CHECK(pthread_create(&writer, NULL, add_slowly, stream) == 0);
    expect(subscription, 300); /* no wake-up is lost */
    CHECK(pthread_join(writer, NULL) == 0);
    becomes_quiet(subscription);
    CHECK(is_an_eventfd(fd));
    fes_subscription_close(subscription);
    /* A worker of the library may have opened a file under the same number since. */
    CHECK(!is_an_eventfd(fd));
}

/* With as many deliveries out as are allowed, an acknowledgement makes it readable again. */
static void waits_for_acknowledgements(fes_stream *stream) {
    fes_subscription *subscription = subscribe(stream, "LOOP");
    int fd = fd_of(subscription);
    becomes_quiet(subscription);
    fes_events *events = NULL;
    add(stream, "LOOP", 1);
    for (int i = 0; i < 1000 && !events; i++) {
        CHECK(is_readable(fd, 60000));
        OK(fes_subscription_next(subscription, 0, NULL, &events, NULL, ERR));
    }
    CHECK(fes_events_count(events) == 1);
    fes_events_free(events);
    add(stream, "LOOP", 1);
    usleep(200000);
    int quiet = 0;
    for (int i = 0; i < 100 && !quiet; i++) {
        OK(fes_subscription_next(subscription, 0, NULL, &events, NULL, ERR));
        CHECK(events == NULL);
        quiet = !is_readable(fd, 100);
    }
    CHECK(quiet);
    OK(fes_subscription_ack(subscription, ERR));
    expect(subscription, 1);
    fes_subscription_close(subscription);
}

static void catches_up(fes_stream *stream) {
    fes_new_event many[500];
    for (size_t i = 0; i < 500; i++)
        many[i] = (fes_new_event){"LOOP", "[1]", 3};
    for (int i = 0; i < 6; i++)
        OK(fes_stream_add_events(stream, many, 500, sizeof *many, NULL, ERR));
    fes_subscription *subscription = subscribe(stream, "LOOP");
    expect(subscription, 3000);
    becomes_quiet(subscription);
    fes_subscription_close(subscription);
}

/* An error is told, too, and the end for good. */
static void tells_errors(fes_stream *stream) {
    fes_consumer *consumer = NULL;
    fes_subscription *subscription = subscribe(stream, "LOOP");
    int fd = fd_of(subscription);
    becomes_quiet(subscription);
    OK(fes_consumer_open(stream, "c", "LOOP", &consumer, ERR));
    OK(fes_consumer_unregister(consumer, NULL, ERR));
    fes_consumer_close(consumer);
    add(stream, "LOOP", 1);
    fes_status status = FES_OK;
    for (int i = 0; i < 1000 && status == FES_OK; i++) {
        fes_events *events = NULL;
        CHECK(is_readable(fd, 60000));
        status = fes_subscription_next(subscription, 0, NULL, &events, NULL, NULL);
        if (events)
            (void)fes_subscription_ack(subscription, NULL);
        fes_events_free(events);
    }
    CHECK(status == FES_NOT_REGISTERED && is_readable(fd, 0));
    fes_subscription_close(subscription);
}

void test_loops(void) {
    fes_stream *stream = open_stream();
    fes_consumer *consumer = NULL;
    OK(fes_consumer_open(stream, "c", "LOOP", &consumer, ERR));
    OK(fes_consumer_register_at(consumer, FES_START_NOW, 0, ERR));
    fes_consumer_close(consumer);
    waits_for_what_comes(stream, "LOOP");
    waits_for_what_comes(stream, "LIVE");
    waits_for_acknowledgements(stream);
    catches_up(stream);
    tells_errors(stream);
    fes_subscription *subscription = subscribe(stream, "LIVE");
    int fd = fd_of(subscription);
    becomes_quiet(subscription);
    REFUSED(fes_subscription_fd(NULL, &fd, ERR));
    CHECK(fd == -1);
    REFUSED(fes_subscription_fd(subscription, NULL, ERR));
    fd = fd_of(subscription);
    fes_stream_close(stream);
    fes_events *events = NULL;
    CHECK(is_readable(fd, 0));
    FAILS(FES_CLOSED, fes_subscription_next(subscription, 0, NULL, &events, NULL, ERR));
    CHECK(is_readable(fd, 0));
    fes_subscription_close(subscription);
}
