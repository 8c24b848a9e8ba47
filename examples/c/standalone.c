/* Events of their own: each is durable when the call returns. */
#include "example.h"

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    printf("added %" PRIu64 "\n", add(stream, "USR_ADD", "{\"name\":\"Ann\"}"));

    /* Many at once: all or none. */
    fes_new_event events[] = {{"USR_MOD", "{\"id\":1}", 8}, {"USR_DEL", NULL, 0}};
    uint64_t ids[2];
    check(fes_stream_add_events(stream, events, 2, sizeof(fes_new_event), ids, &err));
    printf("added %" PRIu64 " and %" PRIu64 "\n", ids[0], ids[1]);

    /* Text that is no event type is refused. */
    if (fes_stream_add_event(stream, "lower case", NULL, 0, NULL, &err) != FES_OK) {
        printf("refused: %s\n", fes_error_name(err));
        fes_error_free(err);
    }
    fes_stream_close(stream);
    return 0;
}
