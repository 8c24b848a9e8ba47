"""A change and the event that tells of it: both, or none."""

import sys
from contextlib import suppress

import futoin_eventstream as fes


def add_user(stream: fes.EventStream, name: str, keep: bool) -> None:
    mark = "$1" if stream.kind == "postgres" else "?"
    with stream.begin() as tx:  # commits at the end, rolls back if an exception leaves it
        tx.execute(f"INSERT INTO users(name) VALUES ({mark})", [name])
        tx.add_event("USR_ADD", {"name": name})
        if not keep:
            raise ValueError("changed my mind")


url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
with fes.EventStream(url) as stream:
    stream.migrate()
    with stream.begin() as tx:
        tx.execute("CREATE TABLE users(name VARCHAR(80))")

    add_user(stream, "Ann", keep=True)
    with suppress(ValueError):
        add_user(stream, "Bob", keep=False)

    with stream.begin() as tx:
        for (name,) in tx.query("SELECT name FROM users"):
            print("user:", name)

# The same on a connection of your own: run this statement in its transaction.
sql, params = fes.statement("postgres", "USR_ADD", {}, paramstyle="numeric_dollar")
print(sql[:51])
