"""No event is lost, duplicated or out of order while writers overlap, and memory stays flat.

FES_STRESS_SECONDS is the length of a run, FES_STRESS_SEED the seed, which a run prints; FES_SOAK_SECONDS the length
of the soak.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from conftest import Db
from stress import TYPES, Got, Report, note, stress

import futoin_eventstream as fes


def seed() -> int:
    return int(os.environ.get("FES_STRESS_SEED") or random.randrange(2**32))


def test_consumers_lose_nothing_beside_overlapping_writers(db: Db) -> None:
    seconds = float(os.environ.get("FES_STRESS_SECONDS") or 3)
    chance = seed()
    print(f"FES_STRESS_SEED={chance}")
    if db.kind == "sqlite":
        # Python's SQLite is another one: the writers are another process.
        committed, got = _sqlite_stress(db, seconds, chance)
    else:
        with db.stream() as stream:
            committed, got = stress(db, seconds, chance, 8, lambda settled: consume(stream, settled))
    for who, events, want in zip(("polling", "filtered", "pushed"), got, (TYPES, TYPES[:1], TYPES)):
        report = Report(committed, events, want)
        print(f"    {who}: {report}")
        assert report.clean, f"{who}: {report}"
    assert len(committed) > 100


def consume(stream: fes.EventStream, settled: threading.Event) -> list[Got]:
    """A consumer that polls everything, one that filters, and a receiver, until all is there."""
    everything, filtered = stream.consumer("All"), stream.consumer("Some")
    everything.register()
    filtered.register()
    got: list[Got] = [[], [], []]
    last: list[int | None] = [None, None]
    with fes.ReliableReceiver(stream, "Pushed", on_events=lambda events: note(got[2], events)):
        idle_since = time.monotonic()
        while not settled.is_set() or time.monotonic() - idle_since < 0.5:
            for index, consumer, want in (0, everything, None), (1, filtered, TYPES[:1]):
                events = consumer.poll(last[index], want=want)
                note(got[index], events)
                if events:
                    last[index] = events[-1].id
                    idle_since = time.monotonic()
            time.sleep(0.002)
    return got


def _sqlite_stress(db: Db, seconds: float, seed: int) -> tuple[dict[tuple[int, int], str], list[Got]]:
    code = """
import json, sys
from pathlib import Path
from conftest import Db
from stress import stress
db = Db("sqlite", Path("."))
db.path = sys.argv[1]
committed, _ = stress(db, float(sys.argv[2]), int(sys.argv[3]), 6, lambda settled: settled.wait())
print(json.dumps([[*key, kind] for key, kind in committed.items()]))
"""
    with db.stream() as stream:
        command = [sys.executable, "-c", code, str(db.path), str(seconds), str(seed)]
        folder = os.path.dirname(__file__)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        settled = threading.Event()
        lines: list[str] = []

        def read() -> None:
            lines.extend((process.communicate()[0] or "").splitlines())
            settled.set()

        reader = threading.Thread(target=read)
        reader.start()
        got = consume(stream, settled)
        reader.join()
    assert process.returncode == 0
    print(*lines[:-1])
    return {(writer, serial): kind for writer, serial, kind in json.loads(lines[-1])}, got


def resident() -> int:
    """The memory of this process, in KiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_memory_stays_flat_in_a_soak(tmp_path: Path) -> None:
    """Everything at once on SQLite and, if it is there, PostgreSQL."""
    seconds = float(os.environ.get("FES_SOAK_SECONDS") or 2)
    servers = ["sqlite", "postgres"] if "FES_TEST_POSTGRES_URL" in os.environ else ["sqlite"]
    dbs = [Db(server, tmp_path) for server in servers]
    end = time.monotonic() + seconds
    samples: list[int] = []
    count = 0
    for db in dbs:
        db.stream().close()
    while time.monotonic() < end or len(samples) < 3:
        for db in dbs:
            count += soak(db)
        gc.collect()
        samples.append(resident())
    for db in dbs:
        db.drop()
    early, late = samples[len(samples) // 3], max(samples[-(len(samples) // 3) :])
    print(f"{count} events in {seconds:.0f} s; {early} KiB after a third, at most {late} KiB in the last third")
    assert late < early + 8192


def soak(db: Db) -> int:
    """Opens a stream, sends events through everything, and closes it."""
    got: list[fes.Event] = []
    with fes.EventStream(db.url) as stream, fes.Warehouse("sqlite::memory:") as warehouse:
        warehouse.migrate()
        audit = stream.consumer("Audit")
        audit.register()
        with fes.ReliableReceiver(stream, "Pushed", on_events=got.extend), stream.subscribe("LIVE"):
            added = stream.add_events([("SOAK", {"n": n, "text": "x" * 100}) for n in range(500)])
            with stream.begin() as tx:
                added.append(tx.add_event("SOAK"))
                tx.query("SELECT 1")
            found: list[fes.Event] = []
            while events := audit.poll(found[-1].id if found else None):
                found += events
            assert [event.id for event in found] == added
            assert sum(len(str(event.data)) for event in found) > 50_000
            patience = time.monotonic() + 20
            while len(got) < len(added):
                assert time.monotonic() < patience
                time.sleep(0.001)
        archiver = fes.Archiver(stream, warehouse)
        archiver.run_once()
        fes.Discarder(stream).run_once()
        try:
            stream.add_event("not good")
        except fes.InvalidType:
            pass
    return len(added)
