// A change and the event that tells of it: both, or none.
#include "example.hpp"

static void add_user(fes::Stream &stream, const std::string &name, bool keep) {
    const bool dollar = stream.kind() == FES_KIND_POSTGRES;
    fes::Transaction tx = stream.begin();
    tx.execute(dollar ? "INSERT INTO users(name) VALUES ($1)" : "INSERT INTO users(name) VALUES (?)", {name});
    tx.add_event("USR_ADD");
    if (keep)
        tx.commit();
} // rolled back here, unless it was committed

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    fes::Transaction tx = stream.begin();
    tx.execute("CREATE TABLE users(name VARCHAR(80))");
    tx.commit();

    add_user(stream, "Ann", true);
    add_user(stream, "Bob", false);

    fes::Transaction look = stream.begin();
    const fes::Rows rows = look.query("SELECT name FROM users");
    for (std::size_t i = 0; i < rows.size(); i++)
        std::cout << "user: " << rows.at(i, 0).text() << '\n';

    // The same on a connection of your own: run this statement in its transaction.
    const fes::Statement statement(FES_KIND_POSTGRES, "USR_ADD", "{}");
    std::cout << statement.sql().substr(0, 51) << '\n';
}
