/* A change and the event that tells of it: both, or none. */
#include "example.h"

static void add_user(fes_stream *stream, const char *name, bool keep) {
    const char *sql = fes_stream_kind(stream) == FES_KIND_POSTGRES ? "INSERT INTO users(name) VALUES ($1)"
                                                               : "INSERT INTO users(name) VALUES (?)";
    fes_tx *tx;
    fes_value value = {.kind = FES_VALUE_TEXT, .bytes = name, .len = strlen(name)};
    check(fes_stream_begin(stream, &tx, &err));
    check(fes_tx_execute(tx, sql, &value, 1, NULL, &err));
    check(fes_tx_add_event(tx, "USR_ADD", NULL, 0, NULL, &err));
    check(keep ? fes_tx_commit(tx, &err) : fes_tx_rollback(tx, &err));
    fes_tx_free(tx);
}

int main(int argc, char **argv) {
    fes_stream *stream = open_stream(argc, argv);
    fes_tx *tx;
    check(fes_stream_begin(stream, &tx, &err));
    check(fes_tx_execute(tx, "CREATE TABLE users(name VARCHAR(80))", NULL, 0, NULL, &err));
    check(fes_tx_commit(tx, &err));
    fes_tx_free(tx);

    add_user(stream, "Ann", true);
    add_user(stream, "Bob", false);

    fes_rows *rows;
    check(fes_stream_begin(stream, &tx, &err));
    check(fes_tx_query(tx, "SELECT name FROM users", NULL, 0, &rows, &err));
    for (size_t i = 0; i < fes_rows_count(rows); i++)
        printf("user: %s\n", fes_rows_get(rows, i, 0)->bytes);
    fes_rows_free(rows);
    fes_tx_free(tx);

    /* The same on a connection of your own: run this statement in its transaction. */
    fes_statement *statement;
    check(fes_event_statement(FES_KIND_POSTGRES, "USR_ADD", "{}", 2, NULL, &statement, &err));
    printf("%.51s\n", fes_statement_sql(statement, NULL));
    fes_statement_free(statement);
    fes_stream_close(stream);
    return 0;
}
