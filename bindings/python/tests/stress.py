"""Writers that overlap as badly as they can, by the raw drivers, and the count of what a consumer got of it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any, Callable

from conftest import Db

import futoin_eventstream as fes

TYPES = ["STRESS_A", "STRESS_B", "STRESS_C"]
NOW = {"sqlite": "datetime('now')", "postgres": "now() AT TIME ZONE 'UTC'", "mysql": "UTC_TIMESTAMP()"}

Key = tuple[int, int]


class Writer(threading.Thread):
    """Inserts events `[writer, serial]` in transactions of one to three, some slow, some rolled back."""

    def __init__(self, db: Db, number: int, seed: int, end: threading.Event) -> None:
        super().__init__()
        self.number, self.kind, self.end = number, db.kind, end
        self.random = random.Random(seed + number)
        self.connection = db.connect()
        self.committed: dict[Key, str] = {}
        self.rolled_back = self.refused = self.serial = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            cursor = self.connection.cursor()
            while not self.end.is_set():
                self.transaction(cursor)
            self.connection.close()
        except BaseException as error:
            self.failure = error

    def transaction(self, cursor: Any) -> None:
        events: dict[Key, str] = {}
        rollback = self.random.random() < 0.15
        try:
            if self.kind == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
            for _ in range(self.random.randint(1, 3)):
                self.serial += 1
                kind = self.random.choice(TYPES)
                events[self.number, self.serial] = kind
                self.insert(cursor, kind, f"[{self.number},{self.serial}]")
                self.pause()
            cursor.execute("ROLLBACK" if rollback else "COMMIT")
        except Exception as error:  # a deadlock, as each driver calls it
            if "deadlock" not in str(error).lower():
                raise
            cursor.execute("ROLLBACK")
            self.refused += 1
            return
        if rollback:
            self.rolled_back += len(events)
        else:
            self.committed |= events
        self.pause()

    def insert(self, cursor: Any, kind: str, data: str) -> None:
        if self.random.random() < 0.5:
            cursor.execute(*fes.statement(self.kind, kind, fes.Json(data)))
        else:
            now = NOW[self.kind]
            cursor.execute(f"INSERT INTO evt_queue(type, data, ts) VALUES ('{kind}', '{data}', {now})")

    def pause(self) -> None:
        """Mostly short; on SQLite the others can only wait meanwhile."""
        slow = 0.15 if self.random.random() < 0.01 else 0.01
        time.sleep(self.random.random() * (0.001 if self.kind == "sqlite" else slow))


class Report:
    """What was wrong with what a consumer got."""

    def __init__(self, committed: dict[Key, str], got: list[tuple[int, Key]], want: list[str]) -> None:
        wanted = {key for key, kind in committed.items() if kind in want}
        counts = Counter(key for _, key in got)
        self.delivered = len(got)
        self.lost = len(wanted - counts.keys())
        self.duplicated = len(got) - len(counts)
        self.phantom = len(counts.keys() - wanted)
        ids = [event_id for event_id, _ in got]
        self.out_of_order = sum(a >= b for a, b in zip(ids, ids[1:]))

    def __str__(self) -> str:
        return (
            f"{self.delivered} delivered, {self.lost} lost, {self.duplicated} duplicated, "
            f"{self.out_of_order} out of order, {self.phantom} phantom"
        )

    @property
    def clean(self) -> bool:
        return self.lost + self.duplicated + self.out_of_order + self.phantom == 0


Got = list[tuple[int, Key]]


def note(got: Got, events: list[fes.Event]) -> None:
    got.extend((event.id, tuple(event.data)) for event in events)


def stress(db: Db, seconds: float, seed: int, writers: int, consumers: Callable[[threading.Event], list[Got]]) -> Any:
    """Lets writers write while `consumers`, run on this thread until the event is set and no longer than what is
    there lasts, consume. Gives what was committed, and what they got."""
    end, settled = threading.Event(), threading.Event()
    threads = [Writer(db, number, seed, end) for number in range(writers)]

    def finish() -> None:
        time.sleep(seconds)
        end.set()
        for thread in threads:
            thread.join()
        settled.set()

    for thread in threads:
        thread.start()
    finisher = threading.Thread(target=finish)
    finisher.start()
    try:
        got = consumers(settled)
    finally:
        end.set()
        finisher.join()
    for thread in threads:
        if thread.failure:
            raise thread.failure
    committed: dict[Key, str] = {}
    for thread in threads:
        committed |= thread.committed
    rolled_back = sum(thread.rolled_back for thread in threads)
    refused = sum(thread.refused for thread in threads)
    print(f"{db.server}: {len(committed)} committed, {rolled_back} rolled back, {refused} refused")
    return committed, got
