"""A server that goes silent: calls end in their time, and a receiver that hangs is stopped in its own."""

from __future__ import annotations

import socket
import threading
import time
from urllib.parse import urlsplit, urlunsplit

import pytest
from conftest import Db

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


def test_a_silent_server_is_a_timeout_and_stop_returns_in_its_time(db: Db) -> None:
    if db.url.startswith("sqlite"):
        return
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
