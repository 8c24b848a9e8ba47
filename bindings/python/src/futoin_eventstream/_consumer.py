"""Consumers that poll."""

from __future__ import annotations

import asyncio
from ctypes import byref, c_bool, c_uint64, c_void_p
from datetime import datetime
from typing import TYPE_CHECKING, AsyncIterator, Iterator, Union

from ._errors import Cancelled, InvalidArgument, call
from ._events import EPOCH, Event, events_of
from ._ffi import lib
from ._handle import Handle, Owner
from ._interrupt import interruptible
from ._text import Types, Want, at_most, event_id, text, types
from ._wait import Cancel, in_thread, slices, token

if TYPE_CHECKING:
    from ._stream import EventStream

#: Where a consumer begins: "beginning", "now", an id, or a time.
Start = Union[str, int, datetime]

_STARTS = {"beginning": 0, "now": 1}
_START_ID, _START_TIME = 2, 3


class Consumer(Owner):
    """A consumer of a stream, made by `EventStream.consumer`. Any number of threads may use one at once,
    although one cursor makes sense for one at a time. Closing it leaves it registered."""

    def __init__(self, stream: EventStream, component: str, user: str) -> None:
        self._stream = stream  # a stream that is forgotten is closed
        self._user, self._component = user, component
        names = text(user, "the user"), text(component, "the component")
        with stream._handle as pointer:
            self._handle = Handle.make("consumer", lib.fes_consumer_close, lib.fes_consumer_open, pointer, *names)
        self._on_server = stream._on_server

    @property
    def user(self) -> str:
        """The user."""
        return self._user

    @property
    def component(self) -> str:
        """The component."""
        return self._component

    @property
    def ident(self) -> str:
        """`user:component`."""
        return f"{self._user}:{self._component}"

    @property
    def is_live(self) -> bool:
        """Whether it is LIVE: it never registers, and has no cursor in the database."""
        return self._component == "LIVE"

    @interruptible
    def register(self) -> None:
        """Registers the consumer, to begin with the first event that is still there: from now on no event that
        it has not acknowledged is discarded. Does nothing if it is registered.

        Raises `LiveNotAllowed`, `SecurityError`, `NotMigrated`, and those of the database.
        """
        with self._handle as pointer:
            call(lib.fes_consumer_register, pointer)

    @interruptible
    def register_at(self, start: Start) -> None:
        """As `register`, to begin elsewhere: with `"beginning"`; with what is committed from `"now"` on; with
        the event of an id (`int`), or the next one that is there; with the first event of a time (an aware
        `datetime`) or later.

        Raises as `register`; `InvalidLastId` for an id beyond the next one; `InvalidArgument`.
        """
        kind, value = _start(start)
        with self._handle as pointer:
            call(lib.fes_consumer_register_at, pointer, kind, value)

    @interruptible
    def unregister(self) -> bool:
        """Forgets the consumer and its cursor; gives whether there was one.

        Raises `LiveNotAllowed`, `SecurityError`, and those of the database.
        """
        was_registered = c_bool()
        with self._handle as pointer:
            call(lib.fes_consumer_unregister, pointer, byref(was_registered))
        return was_registered.value

    def poll(
        self,
        last_id: int | None = None,
        want: Want = None,
        limit: int | None = None,
        timeout: float | None = 0,
        cancel: Cancel | None = None,
    ) -> list[Event]:
        """Gives the next events, in order; none if there are none in time.

        `last_id`: acknowledges everything up to it; `None` goes on at the stored cursor, or this LIVE
        consumer's place. `want`: the event types, all by default. `limit`: the most events; by default, and at
        most, the option `max_chunk_events`. `timeout`: waits up to so many seconds for the first event;
        0 asks once, `None` waits for ever. `cancel` ends the wait.

        Events behind one whose transaction is still open are kept back until it has ended.

        Raises `NotRegistered`, `SecurityError`, `InvalidLastId`, `InvalidType`, `UnsafeServer`, `Cancelled`,
        and those of the database. `CorruptEvent` if the next event cannot be read (those before it came first),
        until it is corrected or passed over by `skip`; LIVE is told once.
        """
        return self._poll(last_id, types(want), limit, timeout, cancel)

    @interruptible
    def _poll(
        self, last_id: int | None, want: Types, limit: int | None, timeout: float | None, cancel: Cancel | None
    ) -> list[Event]:
        after = None if last_id is None else byref(c_uint64(event_id(last_id)))
        most = at_most(limit)
        for wait_ms in slices(timeout, self._on_server):
            out = c_void_p()
            try:
                with self._handle as pointer, token(cancel) as cancelled:
                    call(lib.fes_consumer_poll, pointer, after, *want, most, wait_ms, cancelled, byref(out))
                events = events_of(out)
            finally:
                lib.fes_events_free(out)
            if events:
                return events
        return []

    @interruptible
    def acknowledge(self, last_id: int) -> None:
        """Acknowledges every event up to `last_id`. The cursor never moves back.

        Raises `NotRegistered`, `SecurityError`, `InvalidLastId`, and those of the database.
        """
        with self._handle as pointer:
            call(lib.fes_consumer_acknowledge, pointer, event_id(last_id))

    @interruptible
    def skip(self, id: int) -> None:
        """Passes over exactly the event `id`, if it is the next one and cannot be read: acknowledges it. The
        `unreadable` of the `CorruptEvent` that `poll` has raised has its id and its content.

        Raises `InvalidArgument` if another event, or none, is the next one, or if it can be read; as
        `acknowledge`.
        """
        with self._handle as pointer:
            call(lib.fes_consumer_skip, pointer, event_id(id))

    def events(self, want: Want = None, timeout: float | None = None, cancel: Cancel | None = None) -> Iterator[Event]:
        """The events as they come: `for event in consumer.events(): ...`. An event is acknowledged when the
        next one is asked for, which is when the body has done with it; one that an exception (or `break`) left
        in the middle comes again.

        `timeout`: ends when nothing came for so many seconds; `None` waits for ever. `cancel` ends it, too.

        Raises as `poll`.
        """
        wanted = types(want)
        while events := self._poll_until(wanted, timeout, cancel):
            for event in events:
                yield event
                if not self.is_live:  # its place has moved with the poll
                    self.acknowledge(event.id)

    def _poll_until(self, want: Types, timeout: float | None, cancel: Cancel | None) -> list[Event]:
        try:
            return self._poll(None, want, None, timeout, cancel)
        except Cancelled:
            return []

    async def aregister(self) -> None:
        """`register` for asyncio."""
        await asyncio.to_thread(self.register)

    async def aunregister(self) -> bool:
        """`unregister` for asyncio."""
        return await asyncio.to_thread(self.unregister)

    async def apoll(
        self,
        last_id: int | None = None,
        want: Want = None,
        limit: int | None = None,
        timeout: float | None = 0,
    ) -> list[Event]:
        """`poll` for asyncio, on a thread of its own; cancelling the task ends the wait."""
        wanted = types(want)
        return await in_thread(lambda cancel: self._poll(last_id, wanted, limit, timeout, cancel))

    async def aacknowledge(self, last_id: int) -> None:
        """`acknowledge` for asyncio."""
        await asyncio.to_thread(self.acknowledge, last_id)

    async def askip(self, id: int) -> None:
        """`skip` for asyncio."""
        await asyncio.to_thread(self.skip, id)

    async def aevents(self, want: Want = None, timeout: float | None = None) -> AsyncIterator[Event]:
        """`events` for asyncio: `async for event in consumer.aevents(): ...`. The waits run on threads of their
        own, the acknowledgements on the loop's executor; cancelling the task ends the wait."""
        wanted = types(want)
        while events := await in_thread(lambda cancel: self._poll(None, wanted, None, timeout, cancel)):
            for event in events:
                yield event
                if not self.is_live:
                    await self.aacknowledge(event.id)


def _start(start: Start) -> tuple[int, int]:
    """A `fes_start` and its value."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise InvalidArgument("a time to start at must be aware, for example datetime.now(timezone.utc)")
        return _START_TIME, int((start - EPOCH).total_seconds())
    if isinstance(start, int):
        return _START_ID, min(event_id(start), 2**63 - 1)
    if start not in _STARTS:
        raise InvalidArgument(f"{start!r} is no place to start at: {', '.join(_STARTS)}, an id, a time")
    return _STARTS[start], 0
