/* What the library must leave alone in the program that it is a part of: host SCENE URL. Before each
 * cut of its connections the program prints "cut", and goes on when a line has come back. */
#include "host.h"

const char *host_url;

void ask_for(const char *what) {
    char line[16];
    printf("%s\n", what);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        _exit(3);
}

fes_stream *host_stream(void) {
    fes_stream *stream = NULL;
    OK(fes_stream_open(host_url, NULL, &stream, ERR));
    OK(fes_stream_migrate(stream, ERR));
    return stream;
}

static const struct {
    const char *name;
    void (*run)(void);
} SCENES[] = {
    {"cut_calls", scene_cut_calls},
    {"cut_receiver", scene_cut_receiver},
    {"callbacks", scene_callbacks},
    {"waits", scene_waits},
    {"descriptors", scene_descriptors},
    {"forks", scene_forks},
    {"logs", scene_logs},
    {"no_threads", scene_no_threads},
    {"no_memory", scene_no_memory},
    {"panics", scene_panics},
    {"silence", scene_silence},
    {"stacks", scene_stacks},
    {"cancelled_threads", scene_cancelled_threads},
};

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    alarm(120); /* a scene that hangs has failed */
    host_url = argv[2];
    for (size_t i = 0; i < sizeof SCENES / sizeof *SCENES; i++) {
        if (strcmp(argv[1], SCENES[i].name) == 0) {
            SCENES[i].run();
            puts("alive");
            return 0;
        }
    }
    return 2;
}
