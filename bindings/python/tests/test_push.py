"""Subscriptions and receivers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from typing import Callable

import pytest
from conftest import Db

import futoin_eventstream as fes
from futoin_eventstream import NoticeKind


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits for a condition, which must come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def test_a_subscription_gives_deliveries_that_are_acknowledged(stream: fes.EventStream) -> None:
    with pytest.raises(fes.NotRegistered):
        stream.subscribe("Audit")
    stream.consumer("Audit").register()
    ids = stream.add_events([("USR_ADD", 1), ("USR_MOD", 2), ("USR_ADD", 3)])
    with stream.subscribe("Audit", user="app", want=["USR_ADD"]) as subscription:
        with pytest.raises(fes.Occupied):
            stream.subscribe("Audit")
        delivery = subscription.next(timeout=10)
        assert delivery is not None and delivery.seq == 0
        assert [event.id for event in delivery] == [ids[0], ids[2]]
        assert subscription.next(timeout=0) is None
        subscription.ack()
        with pytest.raises(fes.InvalidArgument):
            subscription.ack()
        assert subscription.stats() == {"delivered": 2, "skipped": 0, "overflows": 0}
    assert stream.consumer("Audit").poll() == []


def test_iterating_a_subscription_acknowledges_after_the_body(stream: fes.EventStream) -> None:
    stream.consumer("Audit").register()
    stream.add_events([("EVT", n) for n in range(3)])
    with stream.subscribe("Audit") as subscription:
        for delivery in subscription:
            assert [event.data for event in delivery] == [0, 1, 2]
            break  # in the middle: not acknowledged
    with stream.subscribe("Audit") as subscription:
        assert [event.data for delivery in subscription.deliveries(timeout=0.3) for event in delivery] == [0, 1, 2]
    assert stream.consumer("Audit").poll() == []


def test_a_subscription_is_cancelled_and_closed(lite: Db) -> None:
    with lite.stream() as stream, fes.Cancel() as cancel:
        subscription = stream.subscribe("LIVE")
        threading.Timer(0.2, cancel.cancel).start()
        with pytest.raises(fes.Cancelled):
            subscription.next(timeout=None, cancel=cancel)
        assert list(subscription.deliveries(cancel=cancel)) == []
        threading.Timer(0.2, subscription.close).start()
        began = time.monotonic()
        with pytest.raises(fes.Closed):
            subscription.next(timeout=None)
        assert time.monotonic() - began < 1


def test_an_event_loop_takes_what_comes_without_a_thread(stream: fes.EventStream) -> None:
    stream.consumer("Loop").register()
    given = [number for number in range(200)]
    taken: list[int] = []

    def add() -> None:
        for number in given:
            stream.add_event("LOOP", number)

    async def main(subscription: fes.Subscription) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def take() -> None:
            while (delivery := subscription.next(0)) is not None:
                taken.extend(event.data for event in delivery)
                subscription.ack()
            if len(taken) >= len(given) and not done.done():
                done.set_result(None)

        loop.add_reader(subscription, take)
        await asyncio.to_thread(add)
        await asyncio.wait_for(done, 60)
        loop.remove_reader(subscription)

    with stream.subscribe("Loop") as subscription:
        asyncio.run(main(subscription))
    assert taken == given
    with pytest.raises(fes.Closed):
        subscription.fileno()


def test_a_subscription_for_asyncio_loses_nothing_to_a_cancelled_task(stream: fes.EventStream) -> None:
    stream.consumer("Audit").register()

    async def main() -> None:
        with stream.subscribe("Audit", ack_interval_ms=10) as subscription:
            got = []
            for n in range(20):
                task = asyncio.ensure_future(subscription.anext())
                await asyncio.sleep(0.001)
                stream.add_event("EVT", n)
                task.cancel()  # just when something comes
                try:
                    delivery = await task
                except asyncio.CancelledError:
                    delivery = await subscription.anext(timeout=10)
                assert delivery is not None
                got += [event.data for event in delivery]
                subscription.ack()
            assert got == list(range(20))
            stream.add_events([("EVT", "last")])
            async for delivery in subscription:
                assert [event.data for event in delivery] == ["last"]
                break

    asyncio.run(main())


def test_a_reliable_receiver_is_called_with_everything_in_order(stream: fes.EventStream) -> None:
    before = stream.add_events([("EVT", n) for n in range(1500)])
    got: list[fes.Event] = []
    seqs: list[int] = []
    threads: set[int] = set()

    def on_events(events: list[fes.Event]) -> None:
        assert isinstance(events, list)
        threads.add(threading.get_ident())
        seqs.append(events.seq)  # type: ignore[attr-defined]
        got.extend(events)

    with fes.ReliableReceiver(stream, "Audit", user="app", on_events=on_events) as receiver:
        after = [stream.add_event("EVT", 1500 + n) for n in range(5)]
        until(lambda: len(got) >= 1505)
        assert receiver.stats()["delivered"] == 1505
    assert [event.id for event in got] == before + after
    assert [event.data for event in got] == list(range(1505))
    assert seqs == list(range(len(seqs)))
    assert threads and threading.get_ident() not in threads
    assert stream.consumer("Audit").poll() == []


def test_a_failing_callback_gets_the_same_events_again(
    stream: fes.EventStream, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[list[int]] = []
    notices: list[fes.Notice] = []

    def on_events(events: list[fes.Event]) -> None:
        calls.append([event.id for event in events])
        if len(calls) < 3:
            raise ValueError("not today")

    ids = stream.add_events([("EVT", 1), ("EVT", 2)])
    receiver = fes.ReliableReceiver(stream, "Audit", on_events=on_events, on_notice=notices.append)
    with caplog.at_level(logging.ERROR), receiver:
        until(lambda: len(calls) >= 3)
        until(lambda: not stream.consumer("Audit").poll())
        assert receiver.stats()["failures"] == 2
    assert calls == [ids] * 3
    assert "not today" in caplog.text
    failed = [notice for notice in notices if notice.kind == NoticeKind.RECEIVER_ERROR]
    assert len(failed) == 2 and failed[0].text == "ValueError: not today" and isinstance(failed[0].error, ValueError)
    assert (notices[0].kind, notices[-1].kind) == (NoticeKind.READY, NoticeKind.STOPPED)
    assert fes.Notice(NoticeKind.NEW_EVENTS, 2) in notices


def test_every_exception_of_a_callback_is_a_failure(lite: Db) -> None:
    failures = [SystemExit(3), KeyboardInterrupt(), MemoryError(), fes.Busy("mine")]

    def on_events(events: list[fes.Event]) -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    with lite.stream() as stream:
        done = threading.Event()
        stream.add_event("EVT")
        with fes.ReliableReceiver(stream, "Audit", on_events=on_events) as receiver:
            assert done.wait(20)
            assert receiver.stats()["failures"] == 4


def test_coroutines_are_no_callbacks(lite: Db) -> None:
    async def on_events(events: list[fes.Event]) -> None:
        pass

    with lite.stream() as stream:
        with pytest.raises(TypeError, match="coroutine"):
            fes.ReliableReceiver(stream, "Audit", on_events=on_events)
        with pytest.raises(TypeError):
            fes.ReliableReceiver(stream, "Audit", on_events=None)  # type: ignore[arg-type]
        stream.add_event("EVT")
        hidden = fes.ReliableReceiver(stream, "Audit", on_events=lambda events: on_events(events), poison="stop")
        with hidden:
            until(lambda: hidden.stats()["failures"])
        assert len(stream.consumer("Audit").poll()) == 1


def test_poison_is_skipped_or_stops_if_so_wanted(lite: Db) -> None:
    got: list[object] = []
    notices: list[fes.Notice] = []

    def on_events(events: list[fes.Event]) -> None:
        if any(event.data == "poison" for event in events):
            raise ValueError("bitter")
        got.extend(event.data for event in events)

    with lite.stream() as stream:
        ids = stream.add_events([("EVT", 1), ("EVT", "poison"), ("EVT", 2)])
        told = notices.append
        with fes.ReliableReceiver(stream, "Skip", on_events=on_events, poison=2, on_notice=told) as receiver:
            until(lambda: got == [1, 2])
            until(lambda: receiver.stats()["given_up"] == 1)
        assert fes.Notice(NoticeKind.SKIPPED, ids[1], "ValueError: bitter", notices[-2].error) in notices
        assert stream.consumer("Skip").poll() == []
        receiver = fes.ReliableReceiver(stream, "Stop", on_events=on_events, poison="stop", on_notice=told)
        with receiver:
            until(lambda: receiver.stats()["failures"] == 1)
        assert len(stream.consumer("Stop").poll()) == 3
        for bad in "never", 0, -1, 2**32:
            with pytest.raises(fes.InvalidArgument):
                fes.ReliableReceiver(stream, "Bad", on_events=on_events, poison=bad)


@pytest.mark.parametrize("again", [False, True])
def test_a_receiver_whose_consumer_is_gone_stops_or_registers_again(stream: fes.EventStream, again: bool) -> None:
    got: list[int] = []
    told: list[fes.Notice] = []
    receiver = fes.ReliableReceiver(
        stream,
        "Gone",
        on_events=lambda events: got.extend(event.data for event in events),
        on_notice=told.append,
        reregister=again,
    )
    with receiver:
        stream.add_event("EVT", 1)
        until(lambda: got == [1])
        assert stream.consumer("Gone").unregister()
        stream.add_event("EVT", 2)
        until(lambda: any(isinstance(notice.error, fes.NotRegistered) for notice in told))
        if again:
            until(lambda: got[-2:] == [1, 2] and len(got) > 2)
        else:
            until(lambda: told[-1].kind == NoticeKind.STOPPED)


def test_a_live_receiver_gets_what_comes_while_it_runs(stream: fes.EventStream) -> None:
    stream.add_event("OLD")
    got: list[str] = []
    ready = threading.Event()

    def on_notice(notice: fes.Notice) -> None:
        if notice.kind == NoticeKind.READY:
            ready.set()

    receiver = fes.LiveReceiver(
        stream, on_events=lambda events: got.extend(event.type for event in events), want=["NEW"], on_notice=on_notice
    )
    with receiver:
        assert ready.wait(10)
        stream.add_events([("NEW",), ("OTHER",), ("NEW",)])
        until(lambda: len(got) == 2)
    assert got == ["NEW", "NEW"]
    assert stream.lag()["consumers"] == []
    with pytest.raises(fes.LiveNotAllowed):
        fes.ReliableReceiver(stream, "LIVE", on_events=print)


def test_a_callback_may_use_everything_and_stop_its_receiver(stream: fes.EventStream) -> None:
    got: list[str] = []

    def on_events(events: list[fes.Event]) -> None:
        got.extend(event.type for event in events)
        stream.add_event("NEXT")
        assert stream.consumer("Other").ident == "app:Other"
        assert receiver.stats()["delivered"] >= 1
        if len(got) >= 3:
            receiver.close()  # stops: it cannot be freed here

    stream.add_event("FIRST")
    receiver = fes.ReliableReceiver(stream, "Audit", on_events=on_events)
    assert not receiver.is_running()
    receiver.start()
    receiver.start()  # does nothing: it is started
    until(lambda: len(got) >= 3)
    receiver.stop()
    assert not receiver.is_running()
    count = len(got)
    stream.add_event("LATER")
    time.sleep(0.1)
    assert len(got) == count
    receiver.start()
    until(lambda: "LATER" in got)
    receiver.close()
    receiver.close()
    with pytest.raises(fes.Closed):
        receiver.start()


def test_a_receiver_that_is_about_to_end_begins_anew_and_is_not_forgotten(stream: fes.EventStream) -> None:
    got: list[int] = []
    inside, go = threading.Event(), threading.Event()

    def on_events(events: list[fes.Event]) -> None:
        inside.set()
        go.wait()
        got.extend(event.id for event in events)

    receiver = fes.ReliableReceiver(stream, "Audit", on_events=on_events)
    receiver.start()
    first = stream.add_event("EVT")
    assert inside.wait(10)
    with pytest.raises(fes.Timeout):
        receiver.stop(0)
    threading.Timer(0.2, go.set).start()
    receiver.start()
    assert receiver.is_running()
    del receiver
    gc.collect()
    second = stream.add_event("EVT")
    until(lambda: second in got)
    assert got == [first, second]


def test_stopping_waits_no_longer_than_it_may(lite: Db) -> None:
    inside, go = threading.Event(), threading.Event()

    def on_events(events: list[fes.Event]) -> None:
        inside.set()
        go.wait()

    with lite.stream() as stream:
        stream.add_event("EVT")
        with fes.ReliableReceiver(stream, "Audit", on_events=on_events) as receiver:
            assert inside.wait(10)
            for timeout in 0, 0.25:
                began = time.monotonic()
                with pytest.raises(fes.Timeout):
                    receiver.stop(timeout)
                assert timeout <= time.monotonic() - began < timeout + 1
            go.set()
            receiver.stop(10)
        assert stream.consumer("Audit").poll() == []


def test_closing_a_stream_stops_its_receivers(stream: fes.EventStream) -> None:
    got: list[fes.Event] = []
    notices: list[NoticeKind] = []
    receiver = fes.ReliableReceiver(
        stream, "Audit", on_events=got.extend, on_notice=lambda notice: notices.append(notice.kind)
    )
    receiver.start()
    stream.add_event("EVT")
    until(lambda: got)
    stream.close()
    assert notices[-1] == NoticeKind.STOPPED and NoticeKind.WORKER_ERROR not in notices


def test_a_receiver_that_runs_is_not_forgotten(lite: Db) -> None:
    got: list[fes.Event] = []
    with lite.stream() as stream:
        fes.ReliableReceiver(stream, "Audit", on_events=got.extend).start()
        stream.add_event("EVT")
        until(lambda: got)


def test_the_library_logs_to_logging(lite: Db, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "fes.test")
    with lite.stream() as stream, fes.Warehouse("sqlite::memory:") as empty:
        archiver = fes.Archiver(stream, empty)
        stream.add_event("EVT")
        fes.log_to("fes.test", level=logging.WARNING)
        try:
            archiver.start()  # warns: the warehouse has no table
            until(lambda: caplog.records)
        finally:
            fes.log_to(None)
        archiver.close()
        assert {(record.name, record.levelno) for record in caplog.records} >= {("fes.test", logging.WARNING)}
        count = sum(record.name == "fes.test" for record in caplog.records)
        fes.Archiver(stream, empty).start()
        time.sleep(0.1)
        assert sum(record.name == "fes.test" for record in caplog.records) == count
