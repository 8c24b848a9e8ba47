"""A server that goes silent: calls end in their time, and a receiver that hangs is stopped in its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from typing import Any, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from conftest import SERVERS, Db, on

import futoin_eventstream as fes


class Silent:
    """A proxy that forwards until it is told to swallow everything."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self.silent = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        user = parts.netloc.rsplit("@", 1)[0]
        self.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent:
                    target.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


#: A file is never silent.
on_servers = on(*SERVERS[1:])


@on_servers
def test_a_silent_server_is_a_timeout_and_stop_returns_in_its_time(db: Db) -> None:
    with db.stream() as stream:
        stream.add_event("A", 1)
    proxy = Silent(db.url)
    try:
        with fes.EventStream(proxy.url, call_timeout_ms=500, connect_timeout_ms=500) as stream:
            consumer = stream.consumer("Audit", user="app")
            consumer.register()
            assert len(consumer.poll()) == 1
            receiver = fes.ReliableReceiver(stream, "Pushed", user="app", on_events=lambda events: None)
            receiver.start()
            time.sleep(0.3)
            proxy.silent = True
            start = time.monotonic()
            # The receiver may have found the silence out first: then it is a new connection that fails.
            with pytest.raises((fes.Timeout, fes.ConnectFailed)):
                consumer.poll()
            assert 0.4 < time.monotonic() - start < 5
            with pytest.raises((fes.ConnectionLost, fes.ConnectFailed)) as failure:
                stream.add_event("A", 2)
            assert failure.value.retriable
            start = time.monotonic()
            receiver.stop(timeout=1)
            assert time.monotonic() - start < 5
    finally:
        proxy.close()


#: Whatever takes so long would take as long as `call_timeout_ms`.
LATE = 15
PATIENT: dict[str, Any] = {"call_timeout_ms": 60000, "connect_timeout_ms": 60000}


@pytest.fixture
def proxy(db: Db) -> Iterator[Silent]:
    with db.stream() as stream:
        stream.consumer("Audit", user="app").register()
        stream.add_event("A", 1)
    proxy = Silent(db.url)
    yield proxy
    proxy.close()


INTERRUPTED = {
    "add": "stream.add_event('A', 2)",
    "add in a transaction": "with stream.begin() as tx: say(); tx.add_event('A', 2)",
    "poll": "stream.consumer('Audit').poll()",
    "wait": "stream.consumer('Audit').poll(timeout=None)",
    "next": "subscription.next()",
    "lag": "stream.lag()",
    "open": "fes.EventStream(url, connect_timeout_ms=60000)",
    "archive": "fes.Archiver(stream, fes.Warehouse(url)).run_once()",
}


@on_servers
@pytest.mark.parametrize("what", INTERRUPTED)
def test_ctrl_c_ends_a_call_on_a_silent_server(proxy: Silent, what: str) -> None:
    code = f"""
    import sys
    import futoin_eventstream as fes
    url = sys.argv[1]
    def say():
        print("now", flush=True)
        sys.stdin.readline()
    try:
        with fes.EventStream(url, call_timeout_ms=60000, connect_timeout_ms=60000) as stream:
            with stream.subscribe('Audit') as subscription:
                {"say()" if "tx" not in INTERRUPTED[what] else "pass"}
                {INTERRUPTED[what]}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), proxy.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background process ignores Ctrl-C, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdin and child.stdout
    try:
        assert child.stdout.readline() == "now\n"
        proxy.silent = True
        child.stdin.write("go\n")
        child.stdin.flush()
        time.sleep(0.7)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(LATE) == 0
        assert child.stdout.read() == "interrupted\n"
        assert time.monotonic() - start < LATE
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def beside(call: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Runs a call that is to fail on another thread."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as why:
            failures.append(why)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.3)
    return thread, failures


@on_servers
def test_a_token_ends_waits_on_a_silent_server(proxy: Silent) -> None:
    with fes.EventStream(proxy.url, **PATIENT) as stream, stream.subscribe("Audit") as subscription:
        proxy.silent = True
        start = time.monotonic()
        assert subscription.next(timeout=0.5) is None
        assert 0.5 <= time.monotonic() - start < LATE
        for wait in stream.consumer("Audit").poll, subscription.next:
            cancel = fes.Cancel()
            thread, failures = beside(partial(wait, timeout=None, cancel=cancel))
            cancel.cancel()
            thread.join(LATE)
            assert [type(failure) for failure in failures] == [fes.Cancelled]


@on_servers
def test_close_ends_calls_of_other_threads_on_a_silent_server(proxy: Silent) -> None:
    stream = fes.EventStream(proxy.url, **PATIENT)
    warehouse = fes.Warehouse(proxy.url, **PATIENT)
    warehouse.migrate()
    proxy.silent = True
    hung = [beside(lambda: stream.add_event("A", 2)), beside(stream.lag), beside(warehouse.history)]
    start = time.monotonic()
    stream.close()
    warehouse.close()
    assert time.monotonic() - start < LATE
    for thread, failures in hung:
        thread.join(LATE)
        assert len(failures) == 1 and isinstance(failures[0], (fes.Timeout, fes.ConnectionLost, fes.Closed))
