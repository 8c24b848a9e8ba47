"""Archiver, discarder, warehouse, replay, service app."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest
from conftest import Db, everything, on
from test_push import until

import futoin_eventstream as fes
from futoin_eventstream import NoticeKind


@pytest.fixture
def warehouse(db: Db) -> Iterator[fes.Warehouse]:
    with fes.Warehouse(db.url) as warehouse:
        warehouse.migrate()
        yield warehouse


def test_history_holds_what_was_archived(stream: fes.EventStream, warehouse: fes.Warehouse) -> None:
    ids = stream.add_events([("USR_ADD", {"n": n, "t": "ä"}) for n in range(3)] + [("USR_DEL", None)])
    with fes.Archiver(stream, warehouse) as archiver:
        assert archiver.run_once() == 4
        assert archiver.run_once() == 0
        stream.add_event("USR_DEL")
        with fes.Cancel() as cancel, pytest.raises(fes.Cancelled):
            cancel.cancel()
            archiver.run_for(None, cancel)
        assert archiver.run_for(60) == (1, True)
        with pytest.raises(fes.InvalidArgument):
            archiver.run_for(-1)
        ids.append(stream.lag()["highest_id"])
    assert warehouse.history(1) == everything(stream)
    assert [event.id for event in warehouse.history(ids[1])] == ids[1:]
    assert [event.id for event in warehouse.history(from_id=1, want=["USR_DEL"])] == ids[3:]
    assert [event.id for event in warehouse.history(1, limit=2)] == ids[:2]
    assert warehouse.history(1, limit=2)[1].data == {"n": 1, "t": "ä"}
    for bad in 0, -1:
        with pytest.raises(fes.InvalidArgument):
            warehouse.history(1, limit=bad)


@on("sqlite", "postgres", "mariadb")
@pytest.mark.parametrize("target", ["sqlite", "postgres", "mariadb"])
def test_every_kind_of_database_archives_to_every_kind(db: Db, target: str, tmp_path: Path) -> None:
    other = Db(target, tmp_path)
    with db.stream() as stream, fes.Warehouse(other.url) as warehouse:
        warehouse.migrate()
        stream.add_event("EVT", {"a": 1.50})
        with fes.Archiver(stream, warehouse, archive_batch=100) as archiver:
            assert archiver.run_once() == 1
        assert [event.raw for event in warehouse.history()] == ['{"a":1.5}']
    other.drop()


def test_an_archiver_works_on_its_own_and_tells(stream: fes.EventStream, warehouse: fes.Warehouse) -> None:
    notices: list[fes.Notice] = []
    archiver = fes.Archiver(stream, warehouse, on_notice=notices.append)
    assert not archiver.is_running()
    archiver.start()
    archiver.start()
    assert archiver.is_running()
    stream.add_events([("EVT", n) for n in range(10)])
    processed = NoticeKind.PROCESSED_EVENTS
    until(lambda: sum(notice.number for notice in notices if notice.kind == processed) == 10)
    with pytest.raises(fes.Occupied):
        fes.Archiver(stream, warehouse).run_once()
    archiver.stop()
    archiver.stop()
    assert not archiver.is_running()
    assert notices[-1].kind == NoticeKind.STOPPED
    assert len(warehouse.history()) == 10
    archiver.start()
    stream.add_event("EVT", 10)
    until(lambda: len(warehouse.history()) == 11)
    archiver.close()
    with pytest.raises(fes.Closed):
        archiver.run_once()


def test_a_failing_archiver_tells_the_error(lite: Db) -> None:
    notices: list[fes.Notice] = []
    with lite.stream() as stream, fes.Warehouse("sqlite::memory:") as empty:
        archiver = fes.Archiver(stream, empty, on_notice=notices.append)
        stream.add_event("EVT")
        with pytest.raises(fes.NotMigrated):
            archiver.run_once()
        archiver.start()
        until(lambda: [notice for notice in notices if isinstance(notice.error, fes.NotMigrated)])
        archiver.close()


def test_a_replay_reads_history_and_goes_on_with_the_stream(stream: fes.EventStream, warehouse: fes.Warehouse) -> None:
    stream.add_events([("EVT", n) for n in range(3)])
    with fes.Archiver(stream, warehouse) as archiver, fes.Discarder(stream) as discarder:
        archiver.run_once()
        assert discarder.run_once() == 2  # the highest id stays
    stream.add_events([("EVT", n) for n in range(3, 5)])
    with warehouse.replay(stream) as replay:
        assert replay.position == 0
        assert [event.data for event in replay] == [0, 1, 2, 3, 4]
        assert replay.position == stream.lag()["highest_id"]
        assert replay.next() == []
        stream.add_event("EVT", 5)
        assert [event.data for event in replay.next(limit=10)] == [5]
        assert replay.next(timeout=0.15) == []
        timer = threading.Timer(0.2, stream.add_event, ["EVT", 6])
        timer.start()
        assert [event.data for event in replay.next(timeout=None)] == [6]
        timer.join()
        with fes.Cancel() as cancel, pytest.raises(fes.Cancelled):
            cancel.cancel()
            replay.next(timeout=None, cancel=cancel)
    assert [event.data for event in fes.Replay(warehouse, stream, from_id=1, want=["OTHER"])] == []


def test_a_discarder_deletes_only_what_everybody_has_acknowledged(stream: fes.EventStream) -> None:
    notices: list[fes.Notice] = []
    ids = stream.add_events([("EVT", n) for n in range(4)])
    with fes.Discarder(stream, poll_period_ms=20, limit_at_once=1000, on_notice=notices.append) as discarder:
        assert discarder.run_once() == 0  # nobody is registered
        assert discarder.run_for(None) == (0, True)
        for name in "Audit", "Mailer":
            stream.consumer(name).register()
        stream.consumer("Audit").acknowledge(ids[3])
        stream.consumer("Mailer").acknowledge(ids[1])
        assert discarder.run_once() == 2
        assert [event.id for event in everything(stream)] == ids[2:]
        discarder.start()
        assert discarder.is_running()
        stream.consumer("Mailer").acknowledge(ids[2])
        until(lambda: [event.id for event in everything(stream)] == ids[3:])
        discarder.stop()
        assert not discarder.is_running()
    assert sum(notice.number for notice in notices if notice.kind == NoticeKind.DISCARDED) >= 1


def test_an_app_archives_and_discards(db: Db, tmp_path: Path) -> None:
    notices: list[fes.Notice] = []
    other = Db("sqlite", tmp_path)
    app = fes.ServiceApp(db.url, other.url, enable_discarder=True, poll_period_ms=20, on_notice=notices.append)
    with app:
        app.migrate()
        app.start()
        app.start()  # does nothing
        app.stream.add_events([("EVT", n) for n in range(7)])
        assert app.warehouse is not None
        until(lambda: app.warehouse is not None and len(app.warehouse.history()) == 7)
        until(lambda: sum(notice.number for notice in notices if notice.kind == NoticeKind.DISCARDED) == 6)
        app.stop()
        app.stream.add_event("EVT", 7)
        time.sleep(0.1)
        assert len(app.warehouse.history()) == 7
        app.start()
        until(lambda: app.warehouse is not None and len(app.warehouse.history()) == 8)
        app.stop(timeout=20)
    app.close()
    app.stop()
    assert app.stream.closed and app.warehouse.closed
    with pytest.raises(fes.Closed):
        app.start()


def test_an_app_without_a_warehouse(lite: Db) -> None:
    with fes.ServiceApp(lite.url, options={"enable_discarder": True}) as app:
        app.migrate()
        assert app.warehouse is None
        app.start()
        assert app.stream.add_event("EVT") == 1


def test_notices_that_misbehave_harm_nobody(lite: Db) -> None:
    called = threading.Event()

    def on_notice(notice: fes.Notice) -> None:
        archiver.close()  # stops: it cannot be freed here
        raise SystemExit(1)

    def on_app_notice(notice: fes.Notice) -> None:
        with pytest.raises(fes.InvalidArgument):
            app.close()
        called.set()

    with lite.stream() as stream, fes.Warehouse("sqlite::memory:") as warehouse:
        warehouse.migrate()
        app = fes.ServiceApp("sqlite::memory:", "sqlite::memory:", on_notice=on_app_notice)
        app.migrate()
        archiver = fes.Archiver(stream, warehouse, on_notice=on_notice)
        stream.add_event("EVT")
        assert archiver.run_once() == 1  # its notices come from this thread
        app.stream.add_event("EVT")
        app.start()
        archiver.start()
        stream.add_event("EVT")
        assert called.wait(10)
        until(lambda: not archiver.is_running())
        archiver.close()
        app.close()


def test_every_id_is_accounted_for(stream: fes.EventStream, warehouse: fes.Warehouse) -> None:
    ids = stream.add_events([("USR_ADD", n) for n in range(5)])
    with fes.Archiver(stream, warehouse) as archiver:
        archiver.run_once()
    report = stream.verify(warehouse)
    assert report and report.complete and report.in_both == 5
    assert (report.first, report.last, report.highest_id) == (1, ids[-1], ids[-1])
    part = stream.verify(from_id=ids[1], to_id=ids[2], timeout=60)
    assert (part.first, part.last, part.in_queue) == (ids[1], ids[2], 2)
    with fes.Warehouse("sqlite::memory:") as empty:
        empty.migrate()
        lost = stream.verify(empty, examples=2)
    assert not lost
    assert [(finding.kind, finding.count) for finding in lost.findings] == [("not_archived", 5), ("history_short", 1)]
    assert [example.id for example in lost.findings[0].examples] == ids[:2]
    with fes.Cancel() as cancel, pytest.raises(fes.Cancelled):
        cancel.cancel()
        stream.verify(warehouse, cancel=cancel)
    with pytest.raises(fes.InvalidArgument):
        stream.verify(from_id=-1)
    assert asyncio.run(stream.averify(warehouse)) == report


def test_a_healthy_stream_has_no_failure_and_a_missing_table_is_one(
    stream: fes.EventStream, warehouse: fes.Warehouse
) -> None:
    checks = stream.doctor(warehouse, roles=["consumer"])
    assert all(check.status != "failure" and check.why for check in checks), checks
    assert {"reachable", "order", "role_consumer", "warehouse"} <= {check.name for check in checks}
    assert "role_generator" not in {check.name for check in checks}
    with pytest.raises(fes.InvalidArgument, match="generator"):
        stream.doctor(roles=["nobody"])
    with fes.Warehouse("sqlite::memory:") as empty:
        failed = [check for check in asyncio.run(stream.adoctor(empty)) if check.status == "failure"]
    assert [check.name for check in failed] == ["warehouse"]
    assert "migrate()" in (failed[0].remedy or "")
