/* Runs the C tests: main FOLDER URL [NAME]... */
#include "check.h"
#include <dirent.h>
#include <unistd.h>

atomic_ulong checks;
const char *db_url;
const char *folder;

void wait_for_value(atomic_int *value, int expected) {
    for (int i = 0; i < 6000 && atomic_load(value) < expected; i++)
        usleep(10000);
    CHECK(atomic_load(value) == expected);
}

static const struct {
    const char *name;
    void (*run)(void);
} TESTS[] = {
    {"versions_and_errors", test_versions_and_errors},
    {"events", test_events},
    {"longer_events", test_longer_events},
    {"transactions", test_transactions},
    {"statements", test_statements},
    {"consumers", test_consumers},
    {"subscriptions", test_subscriptions},
    {"loops", test_loops},
    {"receivers", test_receivers},
    {"owners", test_owners},
    {"history", test_history},
    {"apps", test_apps},
    {"log", test_log},
    {"nulls", test_nulls},
    {"texts_and_lengths", test_texts_and_lengths},
    {"each_error", test_each_error},
    {"errors_of_databases", test_errors_of_databases},
    {"after_close", test_after_close},
    {"limits_of_stopping", test_limits_of_stopping},
    {"limits_of_waiting", test_limits_of_waiting},
    {"threads", test_threads},
    {"rounds", test_rounds},
};

fes_stream *open_with(const char *url, const char *const *pairs) {
    fes_options *options = fes_options_new();
    for (; pairs && *pairs; pairs += 2)
        OK(fes_options_set(options, pairs[0], pairs[1], ERR));
    fes_stream *stream = NULL;
    OK(fes_stream_open(url, options, &stream, ERR));
    fes_options_free(options);
    OK(fes_stream_migrate(stream, ERR));
    return stream;
}

fes_stream *open_stream(void) { return open_with(db_url, NULL); }

fes_stream *open_memory(void) { return open_with("sqlite::memory:", NULL); }

int entries(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    alarm(300); /* a test that hangs has failed */
    folder = argv[1];
    db_url = argv[2];
    unsigned run = 0;
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        int wanted = argc == 3;
        for (int a = 3; a < argc; a++)
            wanted |= strcmp(argv[a], TESTS[i].name) == 0;
        if (!wanted)
            continue;
        TESTS[i].run();
        run++;
        printf("ok %s\n", TESTS[i].name);
        fflush(stdout);
    }
    printf("%u tests, %lu checks\n", run, atomic_load(&checks));
    return run == 0;
}
