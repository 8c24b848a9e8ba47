"""What is measured: workloads, databases, and who takes part in which of them."""

from dataclasses import dataclass, field

# About 100 bytes as JSON. Every side sets n to the number of the event, so that a reader can tell whether each
# event came, and in which order.
PAYLOAD = {"n": 0, "user": "ann.example", "email": "ann@example.com", "action": "profile.changed", "ip": "192.0.2.17"}
# The npm package archives 100 events by one statement of at most 10,000 characters, and can never go on where
# they are longer.
SHORT = {"n": 0, "user": "ann.example"}


@dataclass(frozen=True)
class Workload:
    title: str
    share: float  # of the events of --events: so that no side takes much longer than a second or two
    history: bool = False  # needs a second database
    writers: bool = False  # others write meanwhile, and how fast they can is what is told
    payload: dict = field(default_factory=lambda: PAYLOAD)


WORKLOADS = {
    "add": Workload("add, one caller", 0.1),
    "add16": Workload("add, 16 callers", 0.25),
    "tx": Workload("own row and event in a transaction", 0.1),
    "bulk": Workload("add 100 in one call", 1),
    "poll": Workload("read and acknowledge by 1000", 1),
    "archive": Workload("archive", 1, history=True, payload=SHORT),
    "discard": Workload("discard", 1),
    "overlap": Workload("16 writers, transactions open up to 8 ms, read meanwhile", 0.2, writers=True),
}

DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}


@dataclass(frozen=True)
class Side:
    """One that is measured: a command that takes a workload and a number of events."""

    title: str
    command: tuple[str, ...]  # {node}, {python} and {rust} are where packages.py installed or built them
    databases: tuple[str, ...]
    workloads: tuple[str, ...]
    prepare: str = ""  # `peers prepare` makes and fills its tables as this, and `peers write` writes there


ALL = tuple(WORKLOADS)
SIDES = {
    "ours": Side("ours", ("{rust}", "ours"), tuple(DATABASES), ALL, prepare="ours"),
    "npm": Side("npm futoin-eventstream", ("node", "{node}/npm.js"), tuple(DATABASES), ALL, prepare="ours"),
    "pgq": Side(
        "PgQ", ("{rust}", "pgq"), ("postgres",), ("add", "add16", "tx", "bulk", "poll", "overlap"), prepare="pgq",
    ),
    "eventsourcing": Side(
        "eventsourcing", ("{python}", "-B", "{scripts}/python/stored.py"), ("sqlite", "postgres"),
        ("add", "add16", "bulk", "poll"),
    ),
    "boss": Side("pg-boss", ("node", "{node}/boss.js"), ("postgres",), ("add", "add16", "tx", "bulk", "poll")),
    "graphile": Side(
        "graphile-worker", ("node", "{node}/graphile.js"), ("postgres",), ("add", "add16", "tx", "bulk", "poll"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Race:
    """One workload on one database, and all that take part."""

    database: str
    workload: str
    sides: tuple[str, ...]


def races(only: list[str]) -> list[Race]:
    """All races, or those that have to do with the names (of databases, workloads, sides), against ours."""
    databases = [name for name in DATABASES if name in only] or list(DATABASES)
    workloads = [name for name in WORKLOADS if name in only] or list(WORKLOADS)
    peers = [name for name in SIDES if name in only and name != "ours"] or [name for name in SIDES if name != "ours"]
    found = []
    for database in databases:
        for workload in workloads:
            takes_part = [s for s in peers if database in SIDES[s].databases and workload in SIDES[s].workloads]
            if workload == "overlap" and database == "sqlite":
                continue  # it has one writer at a time
            if takes_part:
                found.append(Race(database, workload, ("ours", *takes_part)))
    return found
