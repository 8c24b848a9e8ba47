"""Checks of a stream: its database, and accounting for every id."""

from __future__ import annotations

import json
import threading
from ctypes import byref, c_char_p, c_size_t, c_uint64, c_void_p, string_at
from dataclasses import dataclass
from typing import Any, Callable, Iterable

from ._errors import InvalidArgument, call
from ._ffi import lib
from ._handle import Handle
from ._text import text
from ._wait import SLICE_MS, Cancel, milliseconds, start_thread, token


@dataclass(frozen=True)
class Check:
    """One thing that `EventStream.doctor` has looked at."""

    #: Its name, for example `clock`.
    name: str
    #: `ok`, `unknown` (it could not be looked at, for the reason in `seen`), `warning` or `failure`.
    status: str
    #: The finding, in words.
    seen: str
    #: Why it matters.
    why: str
    #: The statement, or the option, that mends it.
    remedy: str | None


@dataclass(frozen=True)
class VerifyExample:
    """One id of a `VerifyFinding`, and what was seen there."""

    id: int
    detail: str


@dataclass(frozen=True)
class VerifyFinding:
    """Something that is wrong: `kind` is one of `changed`, `not_archived`, `lost_from_queue`, `history_beyond`,
    `cursor_beyond`, `history_short`, `duplicate`, `id_outside`, `unreadable`; `meaning` says it in a sentence."""

    kind: str
    meaning: str
    count: int
    examples: list[VerifyExample]


@dataclass(frozen=True)
class Verification:
    """The result of `EventStream.verify`. The six counts make up the ids from `first` to `last`."""

    #: The first and the last id that were looked at.
    first: int
    last: int
    #: The highest id that was allocated when it began.
    highest_id: int
    #: Whether all that was asked for was looked at; else go on from `last + 1`.
    complete: bool
    #: Events that are only in the event table, in both tables, only in the history.
    in_queue: int
    in_both: int
    in_history: int
    #: Ids whose transaction was rolled back.
    never_committed: int
    #: Ids without an event that every consumer has passed: discarded or rolled back.
    gone: int
    #: Ids whose transaction may still be open.
    unsettled: int
    #: Why no better evidence for what is settled could be had, and what helps.
    blocked: str | None
    #: Everything that is wrong; empty if all is well.
    findings: list[VerifyFinding]

    def __bool__(self) -> bool:
        """Whether nothing is wrong: `assert stream.verify(warehouse)`."""
        return not self.findings


def json_of(function: Any, *arguments: Any) -> Any:
    """The result of a C function that gives JSON text."""
    out, length = c_void_p(), c_size_t()
    try:
        call(function, *arguments, byref(out))
        start = lib.fes_text_data(out, byref(length))
        return json.loads(string_at(start, length.value))
    finally:
        lib.fes_text_free(out)


def doctor(stream: Handle, warehouse: Handle | None, roles: Iterable[str]) -> list[Check]:
    """Runs the checks."""
    names = [text(role, "a role") for role in roles]
    array = (c_char_p * len(names))(*names)
    function = lib.fes_stream_doctor_json
    with stream as pointer:
        if warehouse is None:
            checks = json_of(function, pointer, None, array, len(names))
        else:
            with warehouse as history:
                checks = json_of(function, pointer, history, array, len(names))
    return [Check(**check) for check in checks]


def verify(
    stream: Handle,
    warehouse: Handle | None,
    from_id: int,
    to_id: int | None,
    examples: int,
    timeout: float | None,
    cancel: Cancel | None,
) -> Verification:
    """Runs the check on a thread, so that Ctrl-C ends it after the chunk that it is at."""
    for name, value in (("from_id", from_id), ("to_id", to_id or 0), ("examples", examples)):
        if not 0 <= value < 2**64:
            raise InvalidArgument(f"{name} is {value}")
    limit_ms = milliseconds(timeout)

    def work(own: Cancel) -> Any:
        function = lib.fes_stream_verify_json_for
        ids = c_uint64(from_id), c_uint64(to_id or 0), c_size_t(examples)
        with stream as pointer, token(own) as cancelled:
            if warehouse is None:
                return json_of(function, pointer, None, *ids, limit_ms, cancelled)
            with warehouse as history:
                return json_of(function, pointer, history, *ids, limit_ms, cancelled)

    report = interruptible(work, cancel, stream)
    for name in ("first", "last", "highest_id"):
        report[name] = int(report[name])
    report["findings"] = [
        VerifyFinding(
            **{**finding, "examples": [VerifyExample(int(e["id"]), e["detail"]) for e in finding["examples"]]}
        )
        for finding in report["findings"]
    ]
    return Verification(**report)


def interruptible(work: Callable[[Cancel], Any], cancel: Cancel | None, stream: Handle) -> Any:
    """Runs `work` on a thread of its own with a token that Ctrl-C cancels, and `cancel`, and closing the stream."""
    result: list[Any] = []
    failure: list[BaseException] = []
    done = threading.Event()
    with Cancel() as own:
        if cancel is not None and cancel.is_cancelled():
            own.cancel()

        def run() -> None:
            try:
                result.append(work(own))
            except BaseException as why:  # for the caller
                failure.append(why)
            finally:
                done.set()

        thread = start_thread("fes-check", run)
        try:
            while not done.wait(SLICE_MS / 1000):
                if stream.closed or (cancel is not None and cancel.is_cancelled()):
                    own.cancel()
        finally:
            own.cancel()
            done.wait()
            thread.join()
    if failure:
        raise failure[0]
    return result[0]
