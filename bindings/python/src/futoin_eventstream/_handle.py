"""Ownership: a pointer of the library, who uses it, and when it is freed.

A `Handle` is used in a `with` block, which gives the pointer. It is freed by `close`, or when it is forgotten,
or at exit; never while a call uses it, never twice, and never in a forked child.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
import time
import warnings
import weakref
from ctypes import byref, c_void_p
from types import TracebackType
from typing import Any, Callable, TypeVar

from ._errors import Closed, Forked, call
from ._ffi import NO_DESTROY, ON_LOG, lib

Self = TypeVar("Self", bound="Owner")

#: Owners of callbacks are closed first at exit, then what belongs to streams, then streams.
RANK_WORKER, RANK_PART, RANK_ROOT = 0, 1, 2

#: How long exit waits for another thread that is inside a call, in s; the handle is left open then.
EXIT_PATIENCE = 1.0

#: After this time without the end of a call `close` ends those that hang, in s.
MOMENT = 0.15

_forks = 0  # how many forks lie between the process that imported this and this one
_inherited = False  # handles were open when this process was forked
_exiting = False
_open: dict[int, weakref.ref[Handle]] = {}
#: Which call of ours the current thread is in: `log`, or a `callback` of the worker that this names.
inside = threading.local()
_postponed: list[tuple[Callable[[c_void_p], None], c_void_p]] = []


class Handle:
    """A pointer of the library with what frees it. Any number of threads may use it at once."""

    __slots__ = (
        "__weakref__", "_closed", "_closing", "_forks", "_free", "_pointer", "_users", "end", "rank", "warns", "what",
    )  # fmt: skip

    def __init__(self, what: str, free: Callable[[c_void_p], None], rank: int = RANK_PART) -> None:
        self.what = what
        self.rank = rank
        self.warns = rank == RANK_ROOT  # when it is forgotten
        self._free = free
        self.end: Callable[[c_void_p], None] | None = None  # what ends the calls of other threads
        self._pointer = c_void_p()
        self._users: list[int] = []  # threads that are inside a call
        self._closed = False
        self._closing = threading.Lock()
        self._forks = _forks

    @classmethod
    def make(cls, what: str, free: Any, function: Any, *arguments: Any, rank: int = RANK_PART) -> Handle:
        """The handle that `function` makes. The Handle exists before the C call fills it, so that an
        interrupt cannot leak the pointer."""
        if rank == RANK_ROOT and _inherited:
            raise Forked(
                f"this process was forked while its parent had a stream or a warehouse open: it cannot open a {what}. "
                "Close everything before the fork, or start processes by spawn or forkserver"
            )
        free_postponed()
        handle = cls(what, free, rank)
        _open[id(handle)] = weakref.ref(handle)
        call(function, *arguments, byref(handle._pointer))
        return handle

    def __enter__(self) -> c_void_p:
        # The thread is noted before `_closed` is looked at, and `close` does it the other way round. What an
        # interrupt leaves behind here is no harm: a thread does not wait for itself.
        self._users.append(threading.get_ident())
        if self._closed or self._forks != _forks:
            self._users.remove(threading.get_ident())
            raise self.gone()
        return self._pointer

    def __exit__(self, *_: object) -> None:
        self._users.remove(threading.get_ident())

    def gone(self) -> Closed:
        if self._forks != _forks:
            return Forked(f"this {self.what} belongs to the parent of this forked process: open another one here")
        return Closed(f"the {self.what} is closed")

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the parent of this process."""
        return self._closed or self._forks != _forks

    @property
    def busy(self) -> bool:
        """Whether another thread is inside a call."""
        return bool(set(self._users) - {threading.get_ident()})

    def close(self, patience: float | None = None) -> bool:
        """Frees the pointer when no other thread is inside a call any more: new calls are refused, waits for
        events end by themselves, and what hangs is ended where `end` can. Gives whether it is closed, which
        fails only after `patience` (s)."""
        if self._forks != _forks or not self._closing.acquire(blocking=False):
            return True
        done = False
        self._closed = True
        try:
            end = None if patience is None else time.monotonic() + patience
            since, users = time.monotonic(), len(self._users)
            while self.busy:
                if users != len(self._users):
                    since, users = time.monotonic(), len(self._users)
                if self.end and time.monotonic() - since > MOMENT:
                    # None of them has ended for a while: they hang.
                    self.end(self._pointer)
                    since = math.inf
                if end is not None and time.monotonic() > end:
                    return False
                time.sleep(0.001)
            done = True
        finally:
            if not done:
                self._closing.release()
        self._free_now()
        return True

    def _free_now(self) -> None:
        _open.pop(id(self), None)
        pointer, self._pointer = self._pointer, c_void_p()
        if not pointer:
            return
        if getattr(inside, "log", False):
            _postponed.append((self._free, pointer))  # a log callback must not call the library
        else:
            self._free(pointer)

    def __del__(self) -> None:
        # The interpreter may be half gone, and `__init__` may not have come to its end.
        if getattr(self, "_forks", None) != _forks or self._closed:
            return
        self._closed = True
        if self._pointer and self.warns:
            warnings.warn(f"a {self.what} was forgotten: close it", ResourceWarning, stacklevel=2, source=self)
        self._free_now()


class Owner:
    """An object that `close`, or the end of its `with` block, closes."""

    _handle: Handle
    #: Whether its calls may wait for a server.
    _on_server = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._handle.closed

    def close(self) -> None:
        """Closes it: new calls raise `Closed`, waits for events in other threads end, and this returns when
        all other calls have. May be called twice."""
        self._handle.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refuse_at_exit() -> None:
    """Refuses to start what calls back: nobody would stop it any more."""
    if _exiting:
        raise Closed("the process is about to exit")


def check_exit() -> None:
    """Ends a wait when the interpreter is about to end. A daemon thread blocks here for ever,
    because touching a finalized interpreter would crash. In a callback, for which the exit waits, it is an error."""
    if _exiting and threading.current_thread() is not threading.main_thread():
        if getattr(inside, "callback", None):
            raise Closed("the process is about to exit")
        threading.Event().wait()


def free_postponed() -> None:
    """Frees what could not be freed where it was forgotten."""
    while _postponed:
        free, pointer = _postponed.pop()
        free(pointer)


def _close_all() -> None:
    """At exit: no callback may come any more when the interpreter goes."""
    global _exiting
    _exiting = True
    _default_interrupt()
    if not _inherited:  # else a thread of the parent may have held the lock of the log
        lib.fes_log_set(ON_LOG(), None, NO_DESTROY, 0, None)
    handles = [handle for handle in (ref() for ref in list(_open.values())) if handle is not None]
    for handle in sorted(handles[::-1], key=lambda handle: handle.rank):
        handle.close(None if handle.rank == RANK_WORKER else EXIT_PATIENCE)


def _default_interrupt() -> None:
    """A callback that does not return holds up the exit: let Ctrl-C end the process all the same."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # not the main thread
        pass


def _after_fork() -> None:
    global _forks, _inherited
    _forks += 1
    _inherited = _inherited or bool(_open)
    _open.clear()
    _postponed.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
