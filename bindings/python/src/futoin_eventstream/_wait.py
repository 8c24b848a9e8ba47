"""Waiting for events: in slices, so that Ctrl-C and `close` are noticed; from asyncio on threads."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from ctypes import c_void_p
from typing import Callable, Iterator, TypeVar

from ._errors import Closed, InvalidArgument, no_thread
from ._ffi import FOREVER, lib
from ._handle import Handle, Owner, check_exit

T = TypeVar("T")

#: The longest time in the library without a look at signals, and at the end of the interpreter, in ms.
SLICE_MS = 100
#: The same for a wait on a server: signals are heard meanwhile, and each look asks the server.
SERVER_SLICE_MS = 500


class Cancel(Owner):
    """Ends waits for events from another thread, or from a signal handler: every call that was given it raises
    `Cancelled` within 30 ms, and so do later ones. Any number of calls may share one."""

    def __init__(self) -> None:
        self._handle = Handle("cancel token", lib.fes_cancel_token_free)
        self._handle._pointer = c_void_p(lib.fes_cancel_token_new())

    def cancel(self) -> None:
        """Cancels, for good. May be called twice, and after `close`."""
        try:
            with self._handle as pointer:
                lib.fes_cancel_token_cancel(pointer)
        except Closed:
            pass

    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        with self._handle as pointer:
            return bool(lib.fes_cancel_token_is_cancelled(pointer))


class _Nobody:
    """In place of a `Cancel` where there is none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOBODY = _Nobody()


#: `cancel` is the token of the calls of this thread that get no other one.
local = threading.local()


def token(cancel: Cancel | None) -> Handle | _Nobody:
    """The pointer of a token, or None, as the target of a `with` block."""
    cancel = cancel or getattr(local, "cancel", None)
    return _NOBODY if cancel is None else cancel._handle


def slices(timeout: float | None, on_server: bool) -> Iterator[int]:
    """The waits in ms that a wait of `timeout` seconds (None: for ever) is made of; at least one."""
    if timeout is not None and not timeout >= 0:
        raise InvalidArgument(f"a timeout of {timeout} seconds")
    if timeout == 0:
        yield 0
        return
    most = SERVER_SLICE_MS if on_server else SLICE_MS
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = (end - time.monotonic()) * 1000
        yield most if left >= most else max(0, math.ceil(left))
        check_exit()
        if left <= most:
            return


def milliseconds(timeout: float | None) -> int:
    """A time of C, for calls that are not waits for events."""
    if timeout is None:
        return FOREVER
    if not timeout >= 0:
        raise InvalidArgument(f"a timeout of {timeout} seconds")
    return min(math.ceil(timeout * 1000), FOREVER - 1) if timeout < FOREVER else FOREVER


def start_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Starts a thread that the interpreter's end does not wait for. Raises `OutOfResources`."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as why:
        raise no_thread(name, why) from why
    return thread


async def in_thread(wait: Callable[[Cancel], T], give_back: Callable[[T], None] | None = None) -> T:
    """Runs a wait for events on a thread of its own; cancelling the task ends the wait within 30 ms. What the wait
    has got by then goes to `give_back` before the task ends; without that it is not needed, and not waited for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    cancel = Cancel()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = wait(cancel)
        except BaseException as why:  # for the task
            error = why
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop was closed meanwhile
            pass

    start_thread("fes-wait", run)
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        cancel.cancel()
        if give_back is None:
            future.cancel()
        else:
            await _finished(future)
            if future.exception() is None:
                give_back(future.result())
        raise
    return future.result()


async def _finished(future: asyncio.Future[T]) -> None:
    """Waits for a future although the task is cancelled again."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            pass
