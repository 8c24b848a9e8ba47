"""The header for other languages is read as it is: cffi has no preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cffi
import pytest

from futoin_eventstream import _ffi

INCLUDE = Path(__file__).resolve().parents[3] / "include"

ffi = cffi.FFI()
ffi.cdef((INCLUDE / "futoin_eventstream_ffi.h").read_text())


@pytest.fixture(scope="module")
def lib() -> Any:
    return ffi.dlopen(_ffi.lib._name)


def done(lib: Any, function: str, *arguments: Any) -> None:
    """Calls a function that may fail."""
    err = ffi.new("fes_error **")
    status = getattr(lib, function)(*arguments, err)
    assert status == lib.FES_OK, ffi.string(lib.fes_error_message(err[0]))


def handle(lib: Any, kind: str, function: str, *arguments: Any) -> Any:
    """Calls a function that gives a handle."""
    out = ffi.new(f"{kind} **")
    done(lib, function, *arguments, out)
    return out[0]


def test_every_function_is_there_and_every_structure_as_in_c(lib: Any) -> None:
    names = (INCLUDE / "symbols.txt").read_text().split()
    assert len(names) > 100
    for name in names:
        assert ffi.typeof(getattr(lib, name)).kind == "function", name
    for name, structure in ("fes_event", _ffi.Event), ("fes_value", _ffi.Value):
        fields = [(field, it.offset) for field, it in ffi.typeof(name).fields]
        assert fields == [(field[0], getattr(structure, field[0]).offset) for field in structure._fields_], name
    assert lib.FES_FOREVER == _ffi.FOREVER and lib.FES_ABI_VERSION == lib.fes_abi_version()


def test_events_are_added_polled_and_received(lib: Any) -> None:
    stream = handle(lib, "fes_stream", "fes_stream_open", b"sqlite::memory:", ffi.NULL)
    done(lib, "fes_stream_migrate", stream)
    consumer = handle(lib, "fes_consumer", "fes_consumer_open", stream, b"app", b"Audit")
    done(lib, "fes_consumer_register", consumer)
    ids = ffi.new("uint64_t[]", 2)
    one, two = ffi.new("char[]", b"USR_ADD"), ffi.new("char[]", b"[1]")
    added = [(one, ffi.NULL, 0), (one, two, 3)]
    done(lib, "fes_stream_add_events", stream, added, 2, ffi.sizeof("fes_new_event"), ids)
    events = handle(
        lib, "fes_events", "fes_consumer_poll", consumer, ffi.NULL, ffi.NULL, 0, 1000, lib.FES_FOREVER, ffi.NULL
    )
    got = [lib.fes_events_get(events, index) for index in range(lib.fes_events_count(events))]
    assert [(event.id, ffi.string(event.data)) for event in got] == [(ids[0], b"null"), (ids[1], b"[1]")]
    lib.fes_events_free(events)

    cancel = ffi.gc(lib.fes_cancel_token_new(), lib.fes_cancel_token_free)
    received = []

    def on_events(user: Any, seq: int, events: Any) -> int:
        received.append((seq, lib.fes_events_get(events, lib.fes_events_count(events) - 1).id))
        lib.fes_cancel_token_cancel(cancel)
        return 0

    callback = ffi.callback("fes_on_events", on_events)
    arguments = stream, b"app", b"Audit", callback, ffi.NULL, ffi.NULL
    receiver = handle(lib, "fes_receiver", "fes_receiver_open", *arguments)
    done(lib, "fes_receiver_start", receiver)
    # Waits for what the receiver ends.
    other = handle(lib, "fes_consumer", "fes_consumer_open", stream, b"app", b"LIVE")
    out, err = ffi.new("fes_events **"), ffi.new("fes_error **")
    status = lib.fes_consumer_poll(other, ffi.NULL, ffi.NULL, 0, 1000, 60_000, cancel, out, err)
    assert status == lib.FES_CANCELLED, status
    lib.fes_error_free(err[0])
    lib.fes_receiver_close(receiver)
    assert received == [(0, ids[1])]
    lib.fes_consumer_close(other)
    lib.fes_consumer_close(consumer)
    lib.fes_stream_close(stream)
