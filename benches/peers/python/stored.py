"""The Python package eventsourcing: its recorders, as an application of it calls them.

`python stored.py WORKLOAD EVENTS`, with the database in PEERS_URL and the data of events in PEERS_PAYLOAD,
prints the same result as the Rust side (rust/workload.rs). Each caller appends to an aggregate of its own. The reader
keeps its place by a tracking record for every chunk, as one that must go on after a restart does.
"""

import json
import os
import sys
import time
import urllib.parse
import uuid
from concurrent.futures import ThreadPoolExecutor

from eventsourcing.persistence import InfrastructureFactory, StoredEvent, Tracking
from eventsourcing.utils import Environment

CALLERS = 16  # at a time in add16, and connections
BULK = 100  # events of one call in bulk
CHUNK = 1000  # events of one read
PAYLOAD = json.loads(os.environ["PEERS_PAYLOAD"])


def environment(address: str) -> dict[str, str]:
    """The settings of the package for the database."""
    url = urllib.parse.urlsplit(address)
    if url.scheme == "sqlite":
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"file:{url.path}"}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": url.hostname,
        "POSTGRES_PORT": str(url.port),
        "POSTGRES_USER": url.username,
        "POSTGRES_PASSWORD": url.password,
        "POSTGRES_DBNAME": url.path.removeprefix("/"),
        "POSTGRES_POOL_SIZE": str(CALLERS),
    }


class Aggregate:
    """The events of one aggregate, numbered from 1 on."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.id = uuid.uuid4()
        self.version = 0

    def append(self, numbers) -> None:
        events = []
        for n in numbers:
            self.version += 1
            state = json.dumps(PAYLOAD | {"n": n}).encode()
            events.append(StoredEvent(self.id, self.version, "peers:Event", state))
        self.recorder.insert_events(events)


def seconds_of(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def add(factory, events: int) -> float:
    aggregate = Aggregate(factory.application_recorder())
    return seconds_of(lambda: [aggregate.append([n]) for n in range(events)])


def add16(factory, events: int) -> float:
    recorder = factory.application_recorder()
    share = -(-events // CALLERS)

    def caller(number: int) -> None:
        aggregate = Aggregate(recorder)
        for n in range(number * share, min(events, (number + 1) * share)):
            aggregate.append([n])

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: recorder.max_notification_id(), range(CALLERS)))
        return seconds_of(lambda: list(pool.map(caller, range(CALLERS))))


def bulk(factory, events: int) -> float:
    aggregate = Aggregate(factory.application_recorder())
    chunks = [range(first, min(events, first + BULK)) for first in range(0, events, BULK)]
    return seconds_of(lambda: [aggregate.append(chunk) for chunk in chunks])


def poll(factory, events: int, read: list[int]) -> float:
    recorder = factory.application_recorder()
    tracking = factory.process_recorder()
    aggregate = Aggregate(recorder)
    for first in range(0, events, CHUNK):
        aggregate.append(range(first, min(events, first + CHUNK)))

    def reader() -> None:
        last = 0
        while found := recorder.select_notifications(last, CHUNK, inclusive_of_start=False):
            read.extend(json.loads(event.state)["n"] for event in found)
            last = found[-1].id
            tracking.insert_events([], tracking=Tracking("peers", last))

    return seconds_of(reader)


def in_order(read: list[int], events: int) -> bool:
    if sorted(read) != list(range(events)):
        raise ValueError(f"{len(read)} events read, not {events}, or not each of them once")
    return read == sorted(read)


def main(workload: str, count: str) -> None:
    events, read = int(count), []
    factory = InfrastructureFactory.construct(Environment(env=environment(os.environ["PEERS_URL"])))
    if workload == "poll":
        seconds = poll(factory, events, read)
    else:
        seconds = {"add": add, "add16": add16, "bulk": bulk}[workload](factory, events)
    ordered = in_order(read, events) if read else True
    print(json.dumps({"events": events, "seconds": seconds, "in_order": ordered, "lost": 0, "repeated": 0}))


if __name__ == "__main__":
    main(*sys.argv[1:])
