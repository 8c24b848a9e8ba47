"""History: the warehouse, what fills it, what empties the stream, and what reads both."""

from __future__ import annotations

from ctypes import byref, c_bool, c_uint64, c_void_p
from typing import Any, Iterator, TypeVar

from . import _sqlite
from ._errors import call
from ._events import Event, events_of
from ._ffi import lib
from ._handle import RANK_ROOT, RANK_WORKER, Handle, Owner
from ._interrupt import aside, interruptible
from ._stream import _KIND_NAMES, EventStream
from ._text import Option, Options, Want, at_most, event_id, text, types
from ._text import options as _options
from ._wait import Cancel, milliseconds, slices, token
from ._worker import OnNotice, Runner

W = TypeVar("W", bound="Warehouse")


class Warehouse(Owner):
    """The database that keeps all history; it may be of another kind than the stream's. Any number of threads may
    use one at once. Arguments and errors as `EventStream`."""

    def __init__(self, url: str, options: Options | None = None, **more: Option) -> None:
        address = text(url, "the URL")
        with _options(options, more) as given:
            self._take(self._open(lib.fes_warehouse_open, address, given))
        _sqlite.watch(self._handle, url)

    @classmethod
    def from_env(cls: type[W], options: Options | None = None, **more: Option) -> W:
        """Opens the warehouse of the environment variables `DB_EVTDWH_TYPE` and so on: see
        `EventStream.from_env`."""
        with _options(options, more) as given:
            return cls._of(cls._open(lib.fes_warehouse_from_env, given))

    @staticmethod
    def _open(function: Any, *arguments: Any) -> Handle:
        handle: Handle = aside(
            lambda: Handle.make("warehouse", lib.fes_warehouse_close, function, *arguments, rank=RANK_ROOT)
        )
        return handle

    @classmethod
    def _of(cls: type[W], handle: Handle) -> W:
        warehouse = cls.__new__(cls)
        warehouse._take(handle)
        return warehouse

    def _take(self, handle: Handle) -> None:
        self._handle = handle
        self._on_server = self.kind != "sqlite"
        handle.end = lib.fes_warehouse_shutdown

    @property
    def kind(self) -> str:
        """The kind of its database: `sqlite`, `postgres` or `mysql` (MariaDB, too)."""
        with self._handle as pointer:
            return _KIND_NAMES[lib.fes_warehouse_kind(pointer)]

    @interruptible
    def migrate(self) -> None:
        """Makes the table, or brings it up to date: see `EventStream.migrate`."""
        with self._handle as pointer:
            call(lib.fes_warehouse_migrate, pointer)

    @interruptible
    def history(self, from_id: int = 1, want: Want = None, limit: int = 1000) -> list[Event]:
        """Archived events from the id `from_id` on, that one included, at most `limit`, in order.

        Raises `NotMigrated`, `InvalidType`, `InvalidArgument`, and those of the database.
        """
        out = c_void_p()
        try:
            with self._handle as pointer:
                arguments = c_uint64(event_id(from_id)), *types(want), at_most(limit)
                call(lib.fes_warehouse_history, pointer, *arguments, byref(out))
            return events_of(out)
        finally:
            lib.fes_events_free(out)

    def replay(self, stream: EventStream, from_id: int = 1, want: Want = None) -> Replay:
        """All events of `stream` from `from_id` on, archived or not, as one; this must be its warehouse."""
        return Replay(self, stream, from_id, want)


class Replay(Owner):
    """Reads all history and goes on with the active events: `for event in warehouse.replay(stream): ...`.
    Registers nothing. Threads that use one at once wait for each other.

    Raises `InvalidType`, `InvalidArgument`.
    """

    def __init__(self, warehouse: Warehouse, stream: EventStream, from_id: int = 1, want: Want = None) -> None:
        self._warehouse, self._stream = warehouse, stream  # what is forgotten is closed
        wanted = types(want)
        with warehouse._handle as w, stream._handle as s:
            arguments = w, s, c_uint64(event_id(from_id)), *wanted
            self._handle = Handle.make("replay", lib.fes_replay_close, lib.fes_replay_open, *arguments)
        self._on_server = stream._on_server or warehouse._on_server

    @interruptible
    def next(self, limit: int = 1000, timeout: float | None = 0, cancel: Cancel | None = None) -> list[Event]:
        """The next events, at most `limit`; none if there are no more now. Waits up to `timeout` seconds (`None`:
        for ever) for the first one; `cancel` ends the wait.

        Raises `InvalidArgument`, `InvalidLastId`, `NotMigrated`, `UnsafeServer`, `Cancelled`, and those of both
        databases. The next call goes on at the same place.
        """
        if events := self._next(lib.fes_replay_next, at_most(limit)):
            return events
        for wait_ms in slices(timeout, self._on_server) if timeout != 0 else ():
            with token(cancel) as cancelled:
                if events := self._next(lib.fes_replay_next_for, at_most(limit), wait_ms, cancelled):
                    return events
        return []

    def _next(self, function: Any, *arguments: Any) -> list[Event]:
        out = c_void_p()
        try:
            with self._handle as pointer:
                call(function, pointer, *arguments, byref(out))
            return events_of(out)
        finally:
            lib.fes_events_free(out)

    @property
    def position(self) -> int:
        """The id up to which everything was given, or was not wanted."""
        with self._handle as pointer:
            return int(lib.fes_replay_position(pointer))

    def __iter__(self) -> Iterator[Event]:
        """The events up to the last that there is now."""
        while events := self.next():
            yield from events


class _HistoryWorker(Runner):
    """The common part of `Archiver` and `Discarder`."""

    def _make(self, stream: EventStream, *arguments: Any) -> None:
        self._stream = stream  # a stream that is forgotten is closed
        warehouse: Warehouse | None = getattr(self, "_warehouse", None)
        self._on_server = stream._on_server or (warehouse is not None and warehouse._on_server)
        free, function = self._function("close"), self._function("open")
        self._handle = Handle.make(self._name, free, function, *arguments, rank=RANK_WORKER)
        self._hear()
        stream._workers.add(self)

    @interruptible
    def run_for(self, timeout: float | None, cancel: Cancel | None = None) -> tuple[int, bool]:
        """As `run_once`, but begins nothing after `timeout` seconds (`None`: no limit), or after `cancel` is
        cancelled. Gives how many events that were, and whether it was all.

        Raises as `run_once`; `Cancelled`, and what was done before stays so.
        """
        count, complete = c_uint64(), c_bool()
        with self._handle as pointer, token(cancel) as cancelled:
            places = byref(count), byref(complete)
            call(self._function("run_for"), pointer, milliseconds(timeout), cancelled, *places)
        return count.value, complete.value

    def _run_once(self) -> int:
        return self.run_for(None)[0]


class Archiver(_HistoryWorker):
    """Copies every event of a stream to the history of a warehouse, exactly once: the consumer
    `-internal:ARCHIVER`. One works for each stream; another one waits, and takes over.

    `on_notice`: told how it fares; without it errors are logged. Of the options, `archive_batch` matters.
    Does nothing until it is started; `with` closes it, and does not start it.
    """

    _name = "archiver"

    def __init__(
        self,
        stream: EventStream,
        warehouse: Warehouse,
        options: Options | None = None,
        *,
        on_notice: OnNotice = None,
        **more: Option,
    ) -> None:
        super().__init__(on_notice)
        self._warehouse = warehouse
        with stream._handle as s, warehouse._handle as w, _options(options, more) as given:
            self._make(stream, s, w, given)

    def run_once(self) -> int:
        """Archives what is settled now, on this thread (for the main thread beside it, so that Ctrl-C is heard);
        gives how many events that were.

        Raises `Occupied` if another archiver is at work; `HistoryConflict`, `NotMigrated`, and those of both
        databases.
        """
        return self._run_once()


class Discarder(_HistoryWorker):
    """Deletes from the event table what every registered consumer has acknowledged; nothing, while nobody is
    registered. Any number of them may run.

    `on_notice`: told how it fares; without it errors are logged. Of the options, `limit_at_once`,
    `poll_period_ms`, `require_archiver` and `expire_after_s` matter.
    Does nothing until it is started; `with` closes it, and does not start it.
    """

    _name = "discarder"

    def __init__(
        self, stream: EventStream, options: Options | None = None, *, on_notice: OnNotice = None, **more: Option
    ) -> None:
        super().__init__(on_notice)
        with stream._handle as s, _options(options, more) as given:
            self._make(stream, s, given)

    def run_once(self) -> int:
        """Discards all that may be discarded now, on this thread (for the main thread beside it, so that Ctrl-C is
        heard); gives how many events that were.

        Raises `NotMigrated`, `PermissionDenied`, and those of the database.
        """
        return self._run_once()
