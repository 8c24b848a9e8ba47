/* The small test frame of the C tests: every check counts, the first that fails ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <futoin_eventstream.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern atomic_ulong checks;
/* Waits until the value is the expected one, for a minute at most. */
void wait_for_value(atomic_int *value, int expected);

/* The database that every test may use, migrated, and a folder for files. */
extern const char *db_url;
extern const char *folder;

#define CHECK(condition)                                                                          \
    do {                                                                                           \
        atomic_fetch_add(&checks, 1);                                                              \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition);  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call succeeds. In it, ERR is the place for its error. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        fes_error *check_err = (fes_error *)&checks;                                                \
        fes_error **ERR = &check_err;                                                              \
        fes_status check_status = (call);                                                          \
        atomic_fetch_add(&checks, 1);                                                              \
        if (check_status != FES_OK || check_err != NULL) {                                         \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                        \
                    fes_status_name(check_status), fes_error_message(check_err));                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call fails with the status, with an error and without a place for one. */
#define FAILS(status, call)                                                                        \
    do {                                                                                           \
        fes_error *check_err = NULL;                                                               \
        fes_error **ERR = &check_err;                                                              \
        fes_status check_status = (call);                                                          \
        atomic_fetch_add(&checks, 1);                                                              \
        if (check_status != (status) || fes_error_code(check_err) != (status) ||                   \
            fes_error_message(check_err)[0] == 0) {                                                \
            fprintf(stderr, "%s:%d: %s: %s instead of %s: %s\n", __FILE__, __LINE__, #call,          \
                    fes_status_name(check_status), #status, fes_error_message(check_err));         \
            exit(1);                                                                               \
        }                                                                                          \
        fes_error_free(check_err);                                                                 \
        ERR = NULL;                                                                                \
        CHECK((call) == (status));                                                                 \
    } while (0)

#define REFUSED(call) FAILS(FES_INVALID_ARGUMENT, call)

/* The test database, with its tables and nothing in them that this consumer has not seen. */
fes_stream *open_stream(void);
/* A new database in memory, with its tables. */
fes_stream *open_memory(void);
/* One with options, given as pairs of key and value up to NULL. */
fes_stream *open_with(const char *url, const char *const *pairs);

/* How many entries a folder has, for example of threads or descriptors. */
int entries(const char *path);

void test_versions_and_errors(void);
void test_events(void);
void test_longer_events(void);
void test_transactions(void);
void test_statements(void);
void test_consumers(void);
void test_subscriptions(void);
void test_loops(void);
void test_receivers(void);
void test_owners(void);
void test_history(void);
void test_apps(void);
void test_log(void);
void test_nulls(void);
void test_texts_and_lengths(void);
void test_each_error(void);
void test_errors_of_databases(void);
void test_after_close(void);
void test_limits_of_stopping(void);
void test_limits_of_waiting(void);
void test_threads(void);
void test_rounds(void);

#endif
