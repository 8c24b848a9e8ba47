/* A program with a SQLite of its own, and the library in itself: two_sqlites FILE. */
#include <futoin_eventstream.h>
#include <sqlite3.h>
#include <stdio.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != 0) {                                                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #call);                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv) {
    fes_stream *stream = NULL;
    fes_tx *tx = NULL;
    fes_rows *rows = NULL;
    sqlite3 *own = NULL;
    char url[4096];
    if (argc != 2)
        return 2;
    OK(fes_stream_open("sqlite::memory:", NULL, &stream, NULL));
    OK(fes_stream_begin(stream, &tx, NULL));
    OK(fes_tx_query(tx, "SELECT sqlite_source_id()", NULL, 0, &rows, NULL));
    printf("%s\n%s\n", fes_rows_get(rows, 0, 0)->bytes, sqlite3_sourceid());
    fes_rows_free(rows);
    fes_tx_free(tx);
    fes_stream_close(stream);
    /* Two libraries: what the program has open is noticed. */
    OK(sqlite3_open(argv[1], &own));
    OK(sqlite3_exec(own, "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t(a)", NULL, NULL, NULL));
    snprintf(url, sizeof url, "sqlite://%s", argv[1]);
    OK(fes_stream_open(url, NULL, &stream, NULL) != FES_FOREIGN_SQLITE);
    return sqlite3_close(own);
}
