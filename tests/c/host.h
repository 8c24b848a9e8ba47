/* What the scenes of host.c share. */
#ifndef HOST_H
#define HOST_H

#include <futoin_eventstream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const char *host_url;

/* Prints `what`, and waits until it was done. */
void ask_for(const char *what);
/* A migrated stream of the URL. */
fes_stream *host_stream(void);

#define CHECK(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition);  \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* The call succeeds. In it, ERR is the place for its error. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        fes_error *host_err = NULL;                                                                \
        fes_error **ERR = &host_err;                                                               \
        fes_status host_status = (call);                                                           \
        (void)ERR;                                                                                 \
        if (host_status != FES_OK) {                                                               \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                        \
                    fes_status_name(host_status), fes_error_message(host_err));                    \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

void scene_cut_calls(void);
void scene_cut_receiver(void);
void scene_callbacks(void);
void scene_waits(void);
void scene_descriptors(void);
void scene_forks(void);
void scene_logs(void);
void scene_no_threads(void);
void scene_no_memory(void);
void scene_panics(void);
void scene_silence(void);
void scene_stacks(void);
void scene_cancelled_threads(void);

#endif
