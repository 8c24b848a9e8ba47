"""Ctrl-C during a call on a server.

Python's signal handlers run between two steps of the main thread, so a call that waits in C for a server would
hold them up. For the main thread such calls run on another one, and it waits where handlers run. A call that a
handler's exception leaves behind is cancelled if it takes a token; else it goes on there until it ends by itself,
or its stream is closed.
"""

from __future__ import annotations

import functools
import os
import threading
from queue import SimpleQueue
from typing import Any, Callable, TypeVar, cast

from ._wait import Cancel, local, start_thread

F = TypeVar("F", bound=Callable[..., Any])


class _Side:
    """A thread that runs the main thread's calls, one after the other."""

    def __init__(self) -> None:
        self._cancel = Cancel()  # of the calls that get no other token
        self._jobs: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        start_thread("fes-side", self._work)

    def _work(self) -> None:
        local.cancel = self._cancel
        while job := self._jobs.get():
            work, done = job
            result, error = None, None
            try:
                result = work()
            except BaseException as why:  # for the main thread
                error = why
            done.put((result, error))
            del job, work, done, result, error  # what a call gave must not stay here until the next one

    def run(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        done: SimpleQueue[Any] = SimpleQueue()
        self._jobs.put((work, done))
        return cast("tuple[Any, BaseException | None]", done.get())

    def give_up(self) -> None:
        """The thread ends after the call that it is in."""
        self._cancel.cancel()
        self._jobs.put(None)


_idle: list[_Side] = []


def aside(work: Callable[[], Any]) -> Any:
    """Runs what may wait for a server, so that signal handlers run meanwhile where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    side = _idle.pop() if _idle else _Side()  # a handler may make calls, too
    try:
        result, error = side.run(work)
    except BaseException:
        side.give_up()
        raise
    _idle.append(side)
    if error is not None:
        try:
            raise error
        finally:
            del error  # else it would keep this frame, which keeps it
    return result


def interruptible(method: F) -> F:
    """For a method of an `Owner`: where it works on a server, the exception of a signal handler ends it."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any, **more: Any) -> Any:
        if not self._on_server:
            return method(self, *arguments, **more)
        return aside(lambda: method(self, *arguments, **more))

    return cast(F, run)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
