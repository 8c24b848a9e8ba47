"""The process around it: signals, exit, fork, another SQLite library. Each in a process of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from contextlib import closing
from typing import Any

import pytest
from conftest import Db, everything

import futoin_eventstream as fes

BEGIN = """
import os, signal, sys, threading, time
import futoin_eventstream as fes
stream = fes.EventStream(sys.argv[1])
stream.migrate()
audit = stream.consumer("Audit")
audit.register()
"""


def start(url: str, code: str) -> "subprocess.Popen[str]":
    program = BEGIN + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", program, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A shell's background process ignores Ctrl-C, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(url: str, code: str, status: int = 0) -> str:
    """Runs a program that ends by itself, soon, and as it should; gives what it printed."""
    return finish(start(url, code), status)


def finish(process: "subprocess.Popen[str]", status: int) -> str:
    began = time.monotonic()
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        raise AssertionError(f"it hangs: {process.communicate()}") from None
    assert process.returncode == status, (process.returncode, out, err)
    assert "Fatal" not in err, err
    assert time.monotonic() - began < 10
    return out


WAITS = {
    "poll": "audit.poll(timeout=None)",
    "events": "for event in audit.events(): pass",
    "next": "stream.subscribe('Audit').next()",
    "deliveries": "for delivery in stream.subscribe('Audit'): pass",
    "stop": """
        inside = threading.Event()
        def on_events(events):
            inside.set()
            time.sleep(3)
        stream.add_event("EVT")
        receiver = fes.ReliableReceiver(stream, "Other", on_events=on_events)
        receiver.start()
        inside.wait()
        receiver.stop()
    """,
    "asyncio": """
        import asyncio
        async def main():
            async for event in audit.aevents():
                pass
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait_within_200_ms(lite: Db, wait: str) -> None:
    body = textwrap.indent(textwrap.dedent(WAITS[wait]).strip(), "    ")
    code = f"""
def interrupted():
    global at
    time.sleep(0.5)
    at = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupted, daemon=True).start()
try:
{body}
except KeyboardInterrupt:
    print(time.monotonic() - at)
    sys.stdout.flush()
    if {wait!r} == "stop":
        os.kill(os.getpid(), signal.SIGKILL)  # the callback sleeps on
"""
    seconds = float(run(lite.url, code, -signal.SIGKILL if wait == "stop" else 0))
    assert seconds < 0.2


def test_a_signal_handler_may_cancel(lite: Db) -> None:
    out = run(
        lite.url,
        """
        cancel = fes.Cancel()
        signal.signal(signal.SIGTERM, lambda *_: cancel.cancel())
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        try:
            audit.poll(timeout=None, cancel=cancel)
        except fes.Cancelled:
            print("cancelled")
        """,
    )
    assert out == "cancelled\n"


EXITS = {
    "sys.exit": ("sys.exit(7)", 7),
    "end": ("pass", 0),
    "uncaught": ("raise ValueError('uncaught')", 1),
    "os._exit": ("os._exit(9)", 9),
}

WORK = {
    "a wait in a daemon thread": """
        thread = lambda: [None for event in audit.events()]
        threading.Thread(target=thread, daemon=True).start()
        time.sleep(0.2)
    """,
    "a subscription waited for in daemon threads": """
        subscription = stream.subscribe("Audit")
        for _ in range(3):
            threading.Thread(target=subscription.next, daemon=True).start()
        time.sleep(0.2)
    """,
    "receivers and workers at work": """
        dwh = fes.Warehouse("sqlite::memory:")
        dwh.migrate()
        got = []
        receivers = [fes.ReliableReceiver(stream, f"R{n}", on_events=got.extend) for n in range(4)]
        receivers += [fes.LiveReceiver(stream, on_events=got.extend)]
        [receiver.start() for receiver in receivers]
        fes.Archiver(stream, dwh, on_notice=lambda notice: None).start()
        fes.Discarder(stream, poll_period_ms=1).start()
        def add():
            while True:
                stream.add_event("EVT")
        for _ in range(2):
            threading.Thread(target=add, daemon=True).start()
        time.sleep(0.3)
    """,
    "a callback running": """
        inside = threading.Event()
        def on_events(events):
            inside.set()
            for n in range(10):
                time.sleep(0.05)
                stream.add_event("FROM_CALLBACK")
        receiver = fes.ReliableReceiver(stream, "R", on_events=on_events)
        receiver.start()
        stream.add_event("EVT")
        inside.wait()
    """,
    "a callback waiting for events": """
        inside = threading.Event()
        def on_events(events):
            inside.set()
            for event in audit.events(want=["NEVER"]):
                pass
        receiver = fes.ReliableReceiver(stream, "R", on_events=on_events)
        receiver.start()
        stream.add_event("EVT")
        inside.wait()
    """,
    "a failing callback": """
        def on_events(events):
            raise ValueError("again and again")
        receiver = fes.ReliableReceiver(stream, "R", on_events=on_events)
        receiver.start()
        stream.add_event("EVT")
        time.sleep(0.1)
    """,
    "a log": """
        import logging
        logging.basicConfig(level=1)
        fes.log_to(level=1)
        fes.Archiver(stream, fes.Warehouse("sqlite::memory:")).start()
        time.sleep(0.2)
    """,
    "an app": """
        app = fes.ServiceApp("sqlite::memory:", "sqlite::memory:", enable_discarder=True, on_notice=print)
        app.migrate()
        app.start()
        app.stream.add_event("EVT")
    """,
    "an exit handler that closes": """
        import atexit
        receiver = fes.ReliableReceiver(stream, "R", on_events=lambda events: time.sleep(0.05))
        receiver.start()
        stream.add_event("EVT")
        atexit.register(stream.close)
        atexit.register(receiver.close)
    """,
    "an exit handler that comes after ours": """
        import atexit
        def late():
            with fes.EventStream(sys.argv[1]) as late:
                late.add_event("LATE")
                try:
                    fes.ReliableReceiver(late, "R", on_events=print).start()
                except fes.Closed:
                    return
            os._exit(99)
        fes._handle.atexit.unregister(fes._handle._close_all)
        atexit.register(late)
        atexit.register(fes._handle._close_all)
    """,
    "a transaction open": """
        tx = stream.begin()
        tx.add_event("LOST")
    """,
    "asyncio tasks": """
        import asyncio
        async def consume():
            async for event in audit.aevents():
                pass
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(consume()) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0.2))
    """,
}


@pytest.mark.parametrize("work", WORK)
def test_exit_never_aborts_nor_hangs(lite: Db, work: str) -> None:
    body = textwrap.dedent(WORK[work])
    processes = [start(f"{lite.url}.{n}", f"{body}\n{code}") for n, (code, _) in enumerate(EXITS.values())]
    for process, (_, status) in zip(processes, EXITS.values()):
        finish(process, status)


def test_exit_in_the_middle_of_everything_many_times(lite: Db) -> None:
    code = textwrap.dedent(WORK["receivers and workers at work"])
    processes = [start(f"{lite.url}.{n}", code.replace("0.3", f"0.0{n}")) for n in range(8)]
    for process in processes:
        finish(process, 0)


def test_ctrl_c_ends_an_exit_that_a_callback_holds_up(lite: Db) -> None:
    process = start(
        lite.url,
        """
        inside = threading.Event()
        def on_events(events):
            inside.set()
            time.sleep(60)
        fes.ReliableReceiver(stream, "R", on_events=on_events).start()
        stream.add_event("EVT")
        inside.wait()
        print("exits")
        """,
    )
    assert process.stdout is not None and process.stdout.readline() == "exits\n"
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.communicate()


def test_nothing_is_lost_when_a_process_is_killed(lite: Db) -> None:
    process = start(lite.url, "n = 0\nwhile True:\n    print(stream.add_event('EVT', n := n + 1))")
    assert process.stdout is not None
    printed = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    printed += [int(line) for line in process.communicate()[0].splitlines()[:-1]]
    with lite.stream() as stream:
        assert {event.id for event in everything(stream)} >= set(printed)


def test_a_forked_child_is_refused(db: Db) -> None:
    out = run(
        db.url,
        """
        tx = stream.begin()
        tx.rollback()
        receiver = fes.ReliableReceiver(stream, "R", on_events=print)
        receiver.start()
        if (child := os.fork()) == 0:
            calls = [audit.poll, stream.lag, stream.begin, tx.commit, receiver.stop, receiver.start]
            calls += [lambda: stream.add_event("EVT"), lambda: fes.EventStream("sqlite::memory:")]
            refused = 0
            for call in calls:
                try:
                    call()
                except fes.Forked as error:
                    refused += "fork" in str(error)
            del receiver, tx, audit
            stream.close()
            assert fes.statement("sqlite", "EVT")
            print(refused, len(calls))
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        receiver.stop()
        print(stream.add_event("EVT") > 0, len(audit.poll()))
        """,
    )
    refused, calls, works, count = out.split()
    assert (refused, works, count) == ("7", "True", "1") and calls == "8"  # to stop is nothing to do


def test_a_child_that_was_forked_with_nothing_open_works(db: Db) -> None:
    out = run(
        db.url,
        """
        audit.close()
        stream.close()
        children = []
        for n in range(3):
            if (child := os.fork()) == 0:
                with fes.EventStream(sys.argv[1]) as stream:
                    stream.add_event("EVT", n)
                sys.exit(0)
            children.append(child)
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
        with fes.EventStream(sys.argv[1]) as stream:
            print(sorted(event.data for event in stream.consumer("Audit").poll()))
        """,
    )
    assert out == "[0, 0, 0]\n[0, 1, 2]\n"


def test_a_stream_is_refused_while_sqlite3_has_the_file_open(lite: Db) -> None:
    lite.stream().close()
    with closing(sqlite3.connect(lite.path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for opening in fes.EventStream, fes.Warehouse, fes.ServiceApp:
            with pytest.raises(fes.ForeignSqlite, match="another SQLite library"):
                opening(lite.url)
        # This is the way:
        connection.execute(*fes.statement("sqlite", "EVT", {"by": "sqlite3"}))
        connection.commit()
    with lite.stream() as stream:
        assert [event.data for event in everything(stream)] == [{"by": "sqlite3"}]


def test_sqlite3_that_opens_the_file_of_a_stream_is_warned_of(lite: Db) -> None:
    def connect(path: Any) -> None:
        sqlite3.connect(path).close()

    with lite.stream(), fes.Warehouse("sqlite::memory:"):
        with pytest.warns(fes.ForeignSqliteWarning, match="acknowledged events can vanish"):
            connect(lite.path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            connect(":memory:")
            connect(str(lite.path) + ".other")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect(lite.path)


def test_streams_that_come_and_go_leave_no_thread_and_no_file_behind(lite: Db) -> None:
    out = run(
        lite.url,
        """
        audit.close()
        stream.close()
        def rounds(count):
            for _ in range(count):
                called = threading.Event()
                with fes.EventStream("sqlite::memory:") as stream:
                    stream.migrate()
                    with fes.ReliableReceiver(stream, "R", on_events=lambda events: called.set()):
                        stream.add_event("EVT")
                        called.wait()
                    stream.consumer("R").poll()
                fes.EventStream("sqlite::memory:")  # forgotten, not closed
        def left():
            return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
        rounds(5)
        time.sleep(0.2)
        before = left()
        rounds(25)
        time.sleep(0.2)
        print(before == left(), before, left())
        """,
    )
    assert out.startswith("True"), out
