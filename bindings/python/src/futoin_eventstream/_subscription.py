"""Subscriptions: events that are pushed to a queue, and taken from it."""

from __future__ import annotations

import threading
from ctypes import byref, c_int, c_uint64, c_void_p
from typing import TYPE_CHECKING, AsyncIterator, Iterable, Iterator

from ._errors import Cancelled, call
from ._events import Event, events_of
from ._ffi import lib
from ._handle import Handle, Owner
from ._text import Option, Options, Want, event_id, options, text, types
from ._wait import Cancel, in_thread, slices, token

if TYPE_CHECKING:
    from ._stream import EventStream

_options = options


class Delivery(list[Event]):
    """A list of events that were pushed together."""

    #: Counts from 0; a gap tells a LIVE consumer that a group was skipped.
    seq: int

    def __init__(self, seq: int, events: Iterable[Event]) -> None:
        super().__init__(events)
        self.seq = seq


class Subscription(Owner):
    """A consumer that is pushed to, made by `EventStream.subscribe`: `for delivery in subscription: ...`.
    Threads that call `next` on one at once wait for each other."""

    def __init__(
        self, stream: EventStream, component: str, user: str, want: Want, options: Options | None, **more: Option
    ) -> None:
        self._stream = stream  # a stream that is forgotten is closed
        names = text(user, "the user"), text(component, "the component")
        wanted = types(want)
        with stream._handle as pointer, _options(options, more) as given:
            free, function = lib.fes_subscription_close, lib.fes_stream_subscribe
            self._handle = Handle.make("subscription", free, function, pointer, *names, *wanted, given)
        self._turn = threading.Lock()
        # The batch of `fes_subscription_next`. It stays here if the caller is interrupted meanwhile.
        self._events = c_void_p()
        self._seq = c_uint64()
        self._given_back: list[Delivery] = []  # by tasks that were cancelled

    def next(self, timeout: float | None = None, cancel: Cancel | None = None) -> Delivery | None:
        """Waits up to `timeout` seconds (0: only looks; `None`: for ever) for the next delivery. Gives `None` if
        there was none, or if as many as the option `request_max` are not acknowledged. `cancel` ends the wait.

        Raises `Closed`, `Cancelled`, `NotRegistered`, `Occupied`, `CorruptEvent` for an event that cannot be read
        (see `skip`), and those of the database. After any but
        `Closed` the call may be repeated: nothing is lost.
        """
        for wait_ms in slices(timeout, self._on_server):
            with self._turn:
                delivery = self._next(wait_ms, cancel)
            if delivery is not None:
                return delivery
        return None

    def _next(self, wait_ms: int, cancel: Cancel | None) -> Delivery | None:
        if self._given_back:
            return self._given_back.pop(0)
        if not self._events:
            with self._handle as pointer, token(cancel) as cancelled:
                places = byref(self._events), byref(self._seq)
                call(lib.fes_subscription_next, pointer, wait_ms, cancelled, *places)
        if not self._events:
            return None
        delivery = Delivery(self._seq.value, events_of(self._events))
        taken, self._events = self._events, c_void_p()
        lib.fes_events_free(taken)
        return delivery

    def ack(self) -> None:
        """Acknowledges the oldest delivery that is not acknowledged; the cursor is stored within the option
        `ack_interval_ms`.

        Raises `InvalidArgument` if there is none.
        """
        with self._handle as pointer:
            call(lib.fes_subscription_ack, pointer)

    def skip(self, id: int) -> None:
        """Passes over the event `id`, which the last `CorruptEvent` of `next` has named because it cannot be read.
        It counts as acknowledged once everything before it is.

        Raises `InvalidArgument` if another event, or none, is the one that could not be read.
        """
        with self._handle as pointer:
            call(lib.fes_subscription_skip, pointer, event_id(id))

    def fileno(self) -> int:
        """A descriptor for event loops, as `selectors` and `loop.add_reader` take it: it is readable while a
        delivery may wait, or an error is to be told. Then call `next(0)` until it gives `None`. It may be readable
        with nothing there. After an error wait a moment before the next call; after `Closed` and
        `NotRegistered` it stays readable for good. Take it out of the loop before `close`.

        With a backlog `next(0)` may take as long as a read from the database, on a server up to 150 ms.

        Raises `OutOfResources` if the process has no descriptor left.
        """
        fd = c_int()
        with self._handle as pointer:
            call(lib.fes_subscription_fd, pointer, byref(fd))
        return fd.value

    def deliveries(self, timeout: float | None = None, cancel: Cancel | None = None) -> Iterator[Delivery]:
        """The deliveries as they come. One is acknowledged when the next is asked for, which is when the body
        has done with it. `timeout`: ends when nothing came for so many seconds. `cancel` ends it, too.

        Raises as `next`.
        """
        while True:
            try:
                delivery = self.next(timeout, cancel)
            except Cancelled:
                return
            if delivery is None:
                return
            yield delivery
            self.ack()

    def __iter__(self) -> Iterator[Delivery]:
        return self.deliveries()

    async def anext(self, timeout: float | None = None) -> Delivery | None:
        """`next` for asyncio, on a thread of its own; cancelling the task ends the wait."""
        return await in_thread(lambda cancel: self.next(timeout, cancel), self._give_back)

    def _give_back(self, delivery: Delivery | None) -> None:
        if delivery is not None:
            self._given_back.append(delivery)

    async def adeliveries(self, timeout: float | None = None) -> AsyncIterator[Delivery]:
        """`deliveries` for asyncio; cancelling the task ends the wait."""
        while (delivery := await self.anext(timeout)) is not None:
            yield delivery
            self.ack()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self.adeliveries()

    def stats(self) -> dict[str, int]:
        """Counts so far. `delivered`: events handed out. `skipped`: LIVE, events skipped because too many
        waited. `overflows`: reliable, how often the queue was too small, so that events were read from the
        database."""
        numbers = [c_uint64() for _ in range(3)]
        with self._handle as pointer:
            call(lib.fes_subscription_stats, pointer, *map(byref, numbers))
        return dict(zip(("delivered", "skipped", "overflows"), (number.value for number in numbers)))

    def __del__(self) -> None:
        lib.fes_events_free(getattr(self, "_events", None))
