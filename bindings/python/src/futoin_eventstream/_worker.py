"""Objects that run on threads of the library and call back: the one way from there into Python.

The library gets the address of a function here and a number that stands for the worker, never the address of a
Python object: whatever is freed when, a late call finds nobody, and that is all.
"""

from __future__ import annotations

import enum
import itertools
import logging
import math
import time
import weakref
from ctypes import c_void_p
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._errors import Closed, InvalidArgument, Timeout, call, error_at
from ._events import events_of
from ._ffi import NO_DESTROY, ON_EVENTS, ON_NOTICE, lib
from ._handle import Owner, check_exit, inside, refuse_at_exit
from ._subscription import Delivery

logger = logging.getLogger("futoin_eventstream")

_keys = itertools.count(1)
_workers: weakref.WeakValueDictionary[int, Worker] = weakref.WeakValueDictionary()
_running: set[Worker] = set()  # what runs is not forgotten


class NoticeKind(enum.IntEnum):
    """The subject of a notice."""

    #: Receiver: registered and subscribed, events come from now on.
    READY = 1
    #: Receiver, archiver: `number` events came, and are worked on next.
    NEW_EVENTS = 2
    #: Archiver: `number` events are in the history and acknowledged.
    PROCESSED_EVENTS = 3
    #: Discarder: `number` events were deleted.
    DISCARDED = 4
    #: Discarder: the consumer `text` was not seen for `expire_after_s`, and was unregistered.
    EXPIRED = 5
    #: Archiver, discarder: it does nothing for now, because of `text`.
    WAITING = 6
    #: The library or the stream's database failed, with `error`; it will be tried again. Only a receiver
    #: whose consumer was unregistered by somebody stops after `NotRegistered`, unless `reregister=True`.
    WORKER_ERROR = 7
    #: The callback (`text`, `error`), or the archiver's warehouse (`error`), failed; it will be tried again.
    RECEIVER_ERROR = 8
    #: Receiver: the event `number` was given up; `text` is the callback's last error.
    SKIPPED = 9
    #: It has ended, by `stop` or with `error`.
    STOPPED = 10


@dataclass(frozen=True)
class Notice:
    """How a receiver, an archiver or a discarder fares."""

    kind: NoticeKind
    number: int = 0
    text: str = ""
    error: Optional[BaseException] = None


#: Called for every notice, from the thread of what it is about, one at a time. It must not block for long.
OnNotice = Optional[Callable[[Notice], object]]


class Worker(Owner):
    """An object with a thread of the library, which reports by notices."""

    #: The part of the C functions' names.
    _name: str
    #: What an exception of its callback was.
    _failure: BaseException | None = None

    def __init__(self, on_notice: OnNotice) -> None:
        self._on_notice = on_notice
        self._key = next(_keys)
        _workers[self._key] = self

    def _function(self, verb: str) -> Any:
        return getattr(lib, f"fes_{self._name}_{verb}")

    def _hear(self) -> None:
        """Has the library tell its notices."""
        with self._handle as pointer:
            call(self._function("set_on_notice"), pointer, on_notice, c_void_p(self._key), NO_DESTROY)

    def start(self) -> None:
        """Starts its threads; does nothing if it is started. One that is about to end is waited for, and begins
        anew. What fails in a thread comes as a notice.

        Raises `Closed`; `OutOfResources` if the system gives no thread.
        """
        function = self._function("start")
        refuse_at_exit()
        _running.add(self)
        try:
            with self._handle as pointer:
                call(function, pointer)
        except BaseException:
            _running.discard(self)
            raise
        _running.add(self)  # the end of a thread that was waited for has taken it out

    def stop(self, timeout: float | None = None) -> None:
        """Stops after what it is at: a batch, a statement, a callback. Returns after the last callback, which it
        waits for up to `timeout` seconds (`None`: for ever; 0: only asks). From inside a callback of its own it
        returns at once, and that call is the last. May be called twice; then it may be started again. Ctrl-C ends
        the wait only.

        Raises `Timeout` if it is still at work: it was asked to end all the same.
        """
        function = self._function("stop_for")
        if timeout is not None and not timeout >= 0:
            raise InvalidArgument(f"a timeout of {timeout} seconds")
        end = math.inf if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while True:
            left = end - time.monotonic()
            # With a time the library cuts off what hangs in a call on a server when it is over: so the last
            # time only. Without one it only asks.
            cuts = left <= 0 and timeout != 0 and not self._inside()
            try:
                with self._handle as pointer:
                    call(function, pointer, 1 if cuts else 0, None)
            except Timeout:
                if self._inside():
                    return
                if left <= 0:
                    raise
                check_exit()
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, 0.02)
                continue
            except Closed:
                pass
            _running.discard(self)
            return

    def _inside(self) -> bool:
        """Whether this is called from a callback of its own."""
        return getattr(inside, "callback", None) is self

    def close(self) -> None:
        """Stops, and frees it. From inside its own callback it only stops: close it elsewhere, too. May be
        called twice."""
        self.stop()
        if not self._inside():
            self._handle.close()
            _running.discard(self)

    def _tell(self, notice: Notice) -> None:
        if notice.kind == NoticeKind.STOPPED:
            _running.discard(self)
        if self._on_notice is not None:
            self._on_notice(notice)
        elif notice.kind in (NoticeKind.WORKER_ERROR, NoticeKind.SKIPPED) or notice.error is not None:
            logger.warning("%s: %s %s", self._handle.what, notice.kind.name, notice.error or notice.text)

    def _deliver(self, delivery: Delivery) -> None:
        raise NotImplementedError


class Runner(Worker):
    """A worker with one thread."""

    def is_running(self) -> bool:
        """Whether the thread runs."""
        with self._handle as pointer:
            return bool(self._function("is_running")(pointer))


class _Inside:
    """Notes whose callback the thread is inside of."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._before = getattr(inside, "callback", None)

    def __enter__(self) -> None:
        inside.callback = self._worker

    def __exit__(self, *_: object) -> None:
        inside.callback = self._before


def _on_events(key: int | None, seq: int, events: int | None) -> int:
    """0 acknowledges: nothing may leave this but a plain return."""
    worker = None
    try:
        worker = _workers[key or 0]
        with _Inside(worker):
            worker._deliver(Delivery(seq, events_of(events)))
        return 0
    except BaseException as error:
        try:
            if worker is not None:
                worker._failure = error
            logger.error("a callback failed; its events come again", exc_info=error)
        except BaseException:
            pass
        return 1


def _on_notice(key: int | None, kind: int, number: int, text: bytes, error: int | None) -> None:
    try:
        worker = _workers.get(key or 0)
        if worker is None:
            return
        cause: BaseException | None = error_at(error) if error else None
        words = text.decode()
        failure = worker._failure
        if failure is not None and kind in (NoticeKind.RECEIVER_ERROR, NoticeKind.SKIPPED) and not cause:
            cause, words = failure, f"{type(failure).__name__}: {failure}"
        with _Inside(worker):
            worker._tell(Notice(NoticeKind(kind), number, words, cause))
    except BaseException as why:
        try:
            logger.error("a callback for notices failed", exc_info=why)
        except BaseException:
            pass


on_events = ON_EVENTS(_on_events)
on_notice = ON_NOTICE(_on_notice)
