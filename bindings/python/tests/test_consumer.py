"""Polling, LIVE, waiting, cancelling, asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from conftest import Db

import futoin_eventstream as fes


def later(seconds: float, what: object) -> threading.Timer:
    timer = threading.Timer(seconds, what)  # type: ignore[arg-type]
    timer.start()
    return timer


def test_a_consumer_polls_what_it_has_not_acknowledged(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit", user="app")
    with pytest.raises(fes.NotRegistered):
        audit.poll()
    audit.register()
    audit.register()
    ids = stream.add_events([("EVT", n) for n in range(5)])
    assert [event.id for event in audit.poll()] == ids
    assert [event.id for event in audit.poll()] == ids
    audit.acknowledge(ids[1])
    assert [event.id for event in audit.poll(limit=2)] == ids[2:4]
    assert [event.id for event in audit.poll(last_id=ids[3])] == ids[4:]
    assert [event.id for event in stream.consumer("Audit").poll()] == ids[4:]
    assert audit.unregister() is True
    assert audit.unregister() is False


def test_a_consumer_gets_the_types_that_it_wants(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit")
    audit.register()
    stream.add_events([("USR_ADD", 1), ("USR_MOD", 2), ("USR_DEL", 3), ("USR_ADD", 4)])
    assert [event.data for event in audit.poll(want=["USR_ADD"])] == [1, 4]
    assert [event.data for event in audit.poll(want="USR_MOD")] == [2]
    assert [event.data for event in audit.poll(want={"USR_DEL", "USR_MOD"})] == [2, 3]
    assert [event.data for event in audit.poll(want=[])] == [1, 2, 3, 4]
    assert audit.poll(want=["OTHER"]) == []
    with pytest.raises(fes.InvalidType):
        audit.poll(want=["not good"])


def test_live_gets_what_comes_from_now_on_and_has_no_cursor(stream: fes.EventStream) -> None:
    stream.add_event("OLD")
    live = stream.consumer("LIVE")
    assert live.is_live and live.ident == "app:LIVE"
    assert live.poll() == []
    new = stream.add_event("NEW")
    assert [event.id for event in live.poll()] == [new]
    assert live.poll() == []
    assert [event.type for event in stream.live("other").poll(last_id=0)] == ["OLD", "NEW"]
    for call in live.register, live.unregister:
        with pytest.raises(fes.LiveNotAllowed):
            call()


def test_a_consumer_begins_where_it_is_registered_at(stream: fes.EventStream) -> None:
    ids = stream.add_events([("EVT", n) for n in range(4)])
    past = datetime.now(timezone.utc) - timedelta(hours=1)
    starts: dict[str, fes.Start] = {
        "B": "beginning",
        "N": "now",
        "I": ids[2],
        "T": past,
        "U": past + timedelta(hours=2),
    }
    expected = {"B": ids, "N": [], "I": ids[2:], "T": ids, "U": []}
    for name, start in starts.items():
        consumer = stream.consumer(name)
        consumer.register_at(start)
        assert [event.id for event in consumer.poll()] == expected[name], name
    for bad in "tomorrow", datetime.now():
        with pytest.raises(fes.InvalidArgument):
            stream.consumer("Bad").register_at(bad)
    with pytest.raises(fes.InvalidLastId):
        stream.consumer("Bad").register_at(ids[-1] + 10)


def test_ids_that_are_none_are_refused(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit")
    audit.register()
    for bad in 10**17, -1, 2**64:
        for call in audit.poll, audit.acknowledge:
            with pytest.raises(fes.InvalidLastId):
                call(bad)
    with pytest.raises(TypeError):
        audit.acknowledge("1")  # type: ignore[arg-type]
    for bad_limit in 0, -1:
        with pytest.raises(fes.InvalidArgument, match="the limit must be at least 1 event"):
            audit.poll(limit=bad_limit)
    for bad_timeout in -1, float("nan"):
        with pytest.raises(fes.InvalidArgument):
            audit.poll(timeout=bad_timeout)


def test_a_poll_waits_for_the_first_event(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit")
    audit.register()
    began = time.monotonic()
    assert audit.poll(timeout=0.35) == []
    assert 0.34 < time.monotonic() - began < 1.5
    later(0.25, lambda: stream.add_event("EVT"))
    (event,) = audit.poll(timeout=None)
    assert 0.5 < time.monotonic() - began < 3
    assert event.type == "EVT"


def test_a_cancel_token_ends_waits_for_good(lite: Db) -> None:
    with lite.stream() as stream, fes.Cancel() as cancel:
        audit = stream.consumer("Audit")
        audit.register()
        later(0.2, cancel.cancel)
        began = time.monotonic()
        with pytest.raises(fes.Cancelled):
            audit.poll(timeout=None, cancel=cancel)
        assert time.monotonic() - began < 1
        assert cancel.is_cancelled()
        with pytest.raises(fes.Cancelled):
            audit.poll(timeout=0, cancel=cancel)
        assert list(audit.events(cancel=cancel)) == []
        assert audit.poll() == []
    cancel.cancel()
    with pytest.raises(fes.Closed):
        cancel.is_cancelled()


def test_closing_ends_a_wait_in_another_thread(lite: Db) -> None:
    for close_stream in True, False:
        stream = lite.stream()
        audit = stream.consumer("Audit")
        audit.register()
        later(0.2, stream.close if close_stream else audit.close)
        began = time.monotonic()
        with pytest.raises(fes.Closed):
            audit.poll(timeout=20)
        assert time.monotonic() - began < 1
        stream.close()


def test_iterating_acknowledges_each_event_after_its_body(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit")
    audit.register()
    ids = stream.add_events([("EVT", n) for n in range(3)])

    def cursor() -> int:
        (consumer,) = stream.lag()["consumers"]
        return int(consumer["last_id"])

    before = []
    for event in audit.events(want=["EVT"], timeout=0.1):
        before.append(cursor())
        last = event.id
    assert before == [0, ids[0], ids[1]] and last == ids[2]
    assert cursor() == ids[2]
    more = stream.add_events([("EVT", n) for n in range(2)])
    for event in audit.events():
        if event.id == more[1]:
            break  # in the middle of its body
    assert [event.id for event in audit.poll()] == [more[1]]
    with pytest.raises(ZeroDivisionError):
        for event in audit.events():
            event.id / 0
    assert [event.id for event in audit.poll()] == [more[1]]


def test_iterating_live_moves_its_place(stream: fes.EventStream) -> None:
    live = stream.live()
    live.poll()
    ids = stream.add_events([("EVT", n) for n in range(3)])
    assert [event.id for event in live.events(timeout=0.1)] == ids
    assert live.poll() == []


def test_another_thread_runs_while_one_waits(lite: Db) -> None:
    with lite.stream() as stream:
        audit = stream.consumer("Audit")
        audit.register()
        ticks = 0
        done = threading.Event()

        def tick() -> None:
            nonlocal ticks
            while not done.wait(0.01):
                ticks += 1

        thread = threading.Thread(target=tick)
        thread.start()
        audit.poll(timeout=0.5)
        done.set()
        thread.join()
        assert ticks > 20


def test_asyncio_gets_events_and_acknowledges(stream: fes.EventStream) -> None:
    async def main() -> list[int]:
        audit = stream.consumer("Audit")
        await audit.aregister()
        added = [await stream.aadd_event("EVT", 1), *await stream.aadd_events([("EVT", 2), ("EVT", 3)])]
        assert [event.id for event in await audit.apoll()] == added
        got = []
        async for event in audit.aevents(timeout=0.2):
            got.append(event.id)
        assert got == added
        (consumer,) = (await stream.alag())["consumers"]
        assert consumer["last_id"] == added[-1]
        assert await audit.apoll(timeout=0.1) == []
        assert await audit.aunregister()
        return got

    assert len(asyncio.run(main())) == 3


def test_cancelling_a_task_ends_its_wait_and_loses_nothing(lite: Db) -> None:
    def waiters() -> int:
        return sum(thread.name == "fes-wait" for thread in threading.enumerate())

    async def main(stream: fes.EventStream) -> None:
        audit = stream.consumer("Audit")
        await audit.aregister()
        got: list[int] = []

        async def consume() -> None:
            async for event in audit.aevents():
                got.append(event.id)

        tasks = [asyncio.ensure_future(consume()), asyncio.ensure_future(audit.apoll(timeout=None))]
        ticks = 0
        for _ in range(30):
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks == 30 and waiters() == 2
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(result, asyncio.CancelledError)
            for result in await asyncio.gather(*tasks, return_exceptions=True)
        )
        began = time.monotonic()
        while waiters():
            await asyncio.sleep(0.005)
        assert time.monotonic() - began < 0.3
        added = await stream.aadd_event("EVT")
        task = asyncio.ensure_future(consume())
        while not got:
            await asyncio.sleep(0.01)
        task.cancel()
        assert got == [added]

    with lite.stream() as stream:
        asyncio.run(main(stream))


def test_a_stream_that_was_rewound_is_told_once(stream: fes.EventStream) -> None:
    audit = stream.consumer("Audit")
    audit.register()
    last = stream.add_event("A", 1)
    with stream.begin() as tx:
        # As after a restore of the events only.
        tx.execute("UPDATE evt_consumers SET last_evt_id = 1000")
    with pytest.raises(fes.StreamRewound) as told:
        audit.poll()
    assert told.value.retriable
    assert "1000" in str(told.value)
    assert [event.id for event in audit.poll()] == [last]


#: Rows that are no events: of no time, and of no JSON.
UNREADABLE = {
    "sqlite": ["('B', '1', 'yesterday')", "('C', '{', datetime('now'))"],
    "postgres": ["('B', '1', 'infinity')", "('C', '{', now())"],
    "mysql": ["('B', '1', '0000-00-00 00:00:00')", "('C', '{', UTC_TIMESTAMP())"],
}
SOFTEN = {"postgres": "ALTER TABLE evt_queue ALTER data TYPE text", "mysql": "SET SESSION sql_mode = ''"}


def spoiled(db: Db, stream: fes.EventStream) -> list[int]:
    """Adds an event, two rows that are none, and an event."""
    first = stream.add_event("A")
    with stream.begin() as tx:
        if db.kind in SOFTEN:
            tx.execute(SOFTEN[db.kind])
        for row in UNREADABLE[db.kind]:
            tx.execute(f"INSERT INTO evt_queue(type, data, ts) VALUES {row}")
    return [first, first + 1, first + 2, stream.add_event("D")]


def test_good_events_before_an_unreadable_one_come_first_and_it_can_be_passed_over(db: Db) -> None:
    with db.stream(check_json=True) as stream:
        consumer = stream.consumer("Audit")
        consumer.register()
        ids = spoiled(db, stream)
        assert [event.id for event in consumer.poll()] == ids[:1]
        with pytest.raises(fes.CorruptEvent, match=f"event {ids[1]} ") as caught:
            consumer.poll(ids[0])
        row = caught.value.unreadable
        assert row and (row.id, row.column, row.type, row.data) == (ids[1], "ts", b"B", b"1")
        for other in ids[0], ids[2], ids[3]:
            with pytest.raises(fes.InvalidArgument):
                consumer.skip(other)
        consumer.skip(ids[1])
        with stream.subscribe("Audit") as subscription:
            with pytest.raises(fes.CorruptEvent) as caught:
                subscription.next(20)
            row = caught.value.unreadable
            assert row and (row.id, row.column, row.type, row.data) == (ids[2], "data", b"C", b"{")
            with pytest.raises(fes.InvalidArgument):
                subscription.skip(ids[3])
            subscription.skip(ids[2])
            delivery = subscription.next(20)
            assert delivery and [event.id for event in delivery] == ids[3:]


def test_data_that_is_no_json_is_told_when_it_is_asked_for(db: Db) -> None:
    with db.stream() as stream:
        consumer = stream.consumer("Audit")
        consumer.register()
        ids = spoiled(db, stream)
        with pytest.raises(fes.CorruptEvent):
            consumer.poll(ids[0])
        consumer.skip(ids[1])
        corrupt, good = consumer.poll()
        assert (corrupt.raw, good.data) == ("{", None)
        with pytest.raises(fes.CorruptEvent, match=f"event {ids[2]} ") as caught:
            corrupt.data
        row = caught.value.unreadable
        assert row and (row.id, row.column, row.type, row.data) == (ids[2], "data", b"C", b"{")
        assert row.ts == f"{corrupt.ts:%Y-%m-%dT%H:%M:%SZ}"
        with pytest.raises(fes.InvalidArgument):
            consumer.skip(ids[2])
