"""The stream: what an application holds of it, and its transactions."""

from __future__ import annotations

import asyncio
import json
import weakref
from ctypes import Array, byref, c_char_p, c_size_t, c_uint64, c_void_p, cast, string_at
from itertools import accumulate
from struct import calcsize, pack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterable, Protocol, Sequence, TypeVar

from . import _checks, _sqlite
from ._checks import Check, Verification
from ._consumer import Consumer
from ._errors import Error, InvalidArgument, call
from ._ffi import NEW_EVENT_FORMAT, lib
from ._handle import RANK_ROOT, Handle, Owner
from ._interrupt import aside, interruptible
from ._statement import KINDS, ParamStyle, Statement, take_statement
from ._subscription import Subscription
from ._text import Option, Options, Want, event_data, event_type, options, text
from ._values import Parameter, Rows, parameters, rows_of
from ._wait import Cancel, in_thread

if TYPE_CHECKING:
    from ._history import Warehouse

S = TypeVar("S", bound="EventStream")
_options = options
_KIND_NAMES = {number: name for name, number in KINDS.items()}


class Worker(Protocol):
    """An object with a thread that calls back. It is stopped before its stream is closed."""

    def stop(self) -> None: ...


class EventStream(Owner):
    """A stream of events in one database, with its pool of connections. Any number of threads may use one.

    `url`: `sqlite:file.db`, `sqlite:///absolute/file.db`, `sqlite::memory:`,
    `postgres://user:password@host:port/database?sslmode=verify-full`,
    `mysql://user:password@host:port/database?ssl-mode=VERIFY_IDENTITY`.
    `options`, and any keyword: docs/options.md lists them; keywords win over `options`, the URL over both.

    Makes one connection, for which it waits up to the option `connect_timeout_ms`, and changes no schema.

    Raises `InvalidUrl`, `InvalidOption`, `ConnectFailed`; `ForeignSqlite` if Python's `sqlite3` (or any other
    SQLite library of this process) has the file open; `Forked` after a fork with a stream open.
    """

    def __init__(self, url: str, options: Options | None = None, **more: Option) -> None:
        address = text(url, "the URL")
        with _options(options, more) as given:
            self._take(self._open(lib.fes_stream_open, address, given))
        _sqlite.watch(self._handle, url)

    @classmethod
    def from_env(cls: type[S], options: Options | None = None, **more: Option) -> S:
        """Opens the stream of the environment variables `DB_EVT_TYPE` (`sqlite`, `postgresql`, `mysql`),
        `DB_EVT_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB`, `_MAXCONN`. Otherwise as `EventStream`."""
        with _options(options, more) as given:
            return cls._of(cls._open(lib.fes_stream_from_env, given))

    @staticmethod
    def _open(function: Any, *arguments: Any) -> Handle:
        handle: Handle = aside(
            lambda: Handle.make("stream", lib.fes_stream_close, function, *arguments, rank=RANK_ROOT)
        )
        return handle

    @classmethod
    def _of(cls: type[S], handle: Handle) -> S:
        stream = cls.__new__(cls)
        stream._take(handle)
        return stream

    def _take(self, handle: Handle) -> None:
        self._handle = handle
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        with handle as pointer:
            self._kind = _KIND_NAMES[lib.fes_stream_kind(pointer)]
        self._on_server = self._kind != "sqlite"
        handle.end = lib.fes_stream_shutdown

    @property
    def kind(self) -> str:
        """The kind of its database: `sqlite`, `postgres` or `mysql` (MariaDB, too)."""
        return self._kind

    def close(self) -> None:
        """Closes the stream: stops its receivers, archivers and discarders, and ends waits for events, which raise
        `Closed`. A transaction that was begun goes on until it ends. Returns when no other thread is inside a call
        of the stream any more; where one is, calls that a server does not answer within 200 ms are ended. May be
        called twice."""
        for worker in list(self._workers):
            worker.stop()
        self._handle.close()

    @interruptible
    def migrate(self) -> None:
        """Makes the tables, or brings them up to date. Idempotent; several processes may do it at once; tables
        of the npm package are taken over.

        Raises `ForeignSchema`, `NewerSchema`, `PermissionDenied`, and those of the database.
        """
        with self._handle as pointer:
            call(lib.fes_stream_migrate, pointer)

    @interruptible
    def add_event(self, type: str, data: Any = None) -> int:
        """Adds one event, and returns its id after the commit.

        `type`: 1 to 16 of `A` to `Z` and `_`. `data`: anything that JSON can hold, or `Json` text.

        Raises `InvalidType`, `InvalidData`, `TooLarge`, `NotMigrated`, and those of the database. After
        `ConnectionLost` the event may or may not have been added.
        """
        with self._handle as pointer:
            return add_event(lib.fes_stream_add_event, pointer, type, data)

    @interruptible
    def add_events(self, events: Iterable[Sequence[Any]]) -> list[int]:
        """Adds events in one transaction, all or none; gives their ids, increasing.

        `events`: `(type, data)`, or `(type,)` for no data.

        Raises as `add_event`; nothing was added then.
        """
        with self._handle as pointer:
            return add_events(lib.fes_stream_add_events, pointer, events)

    async def aadd_event(self, type: str, data: Any = None) -> int:
        """`add_event` for asyncio, on a thread of the loop's executor. A task that is cancelled does not wait
        any more, but the event may be added all the same."""
        return await asyncio.to_thread(self.add_event, type, data)

    async def aadd_events(self, events: Iterable[Sequence[Any]]) -> list[int]:
        """`add_events` for asyncio: see `aadd_event`."""
        return await asyncio.to_thread(self.add_events, list(events))

    @interruptible
    def begin(self) -> Transaction:
        """Begins a transaction: `with stream.begin() as tx:` commits at the end of the block, and rolls back
        if an exception leaves it. On SQLite it waits for other writers, up to the option `busy_timeout_ms`.

        Raises `Busy`, and those of the database.
        """
        return Transaction(self)

    def statement(self, type: str, data: Any = None, paramstyle: ParamStyle = None) -> Statement:
        """The statement that adds an event of this stream, for a connection of your own:
        `cursor.execute(*stream.statement("NEW_ENTRY", {"id": 1}))`. See `futoin_eventstream.statement`."""
        name, encoded = event_type(type), event_data(data)
        function = lib.fes_stream_statement
        with self._handle as pointer:
            return take_statement(self._kind, paramstyle, function, pointer, name, encoded, len(encoded))

    def consumer(self, component: str, user: str = "app") -> Consumer:
        """The consumer `user:component`; asks no database.

        `component`: 1 to 16 letters, digits and `_`; `LIVE` is a consumer that never registers, and gets what
        comes from now on. `user`: up to 64 characters of printable ASCII without `:`.

        Raises `InvalidComponent`, `InvalidUser`, `IdentTooLong`.
        """
        return Consumer(self, component, user)

    def live(self, user: str = "app") -> Consumer:
        """The LIVE consumer of a user: `consumer("LIVE", user)`."""
        return Consumer(self, "LIVE", user)

    @interruptible
    def subscribe(
        self, component: str, user: str = "app", want: Want = None, options: Options | None = None, **more: Option
    ) -> Subscription:
        """Subscribes the consumer `user:component`, which must be registered unless it is `LIVE`: events come
        to a queue, and are taken from it. `want`: as `Consumer.poll`. Of the options, those of push count.

        Raises `NotRegistered`; `Occupied` if another receiver of this consumer is at work; `SecurityError`,
        `InvalidLastId`, `UnsafeServer`, those of `consumer` and of the database.
        """
        return Subscription(self, component, user, want, options, **more)

    @interruptible
    def lag(self) -> dict[str, Any]:
        """How far each registered consumer is behind, and what holds the stream up:
        `{"highest_id": int, "first_unsettled": int | None, "holders": [{"id", "since", "application"}],
        "blocked": str | None, "warnings": [str], "consumers": [{"ident", "last_id", "events_behind",
        "seconds_behind", "seconds_since_seen", "seconds_registered"}]}`. The warnings name rows that consumers
        do not get.

        Raises `NotMigrated`, `UnsafeServer`, and those of the database.
        """
        out, length = c_void_p(), c_size_t()
        try:
            with self._handle as pointer:
                call(lib.fes_stream_lag_json, pointer, byref(out))
            start = lib.fes_text_data(out, byref(length))
            lag: dict[str, Any] = json.loads(string_at(start, length.value))
        finally:
            lib.fes_text_free(out)
        lag["highest_id"] = int(lag["highest_id"])
        if lag["first_unsettled"] is not None:
            lag["first_unsettled"] = int(lag["first_unsettled"])
        for consumer in lag["consumers"]:
            consumer["last_id"] = int(consumer["last_id"])
        return lag

    async def alag(self) -> dict[str, Any]:
        """`lag` for asyncio."""
        return await asyncio.to_thread(self.lag)

    @interruptible
    def doctor(self, warehouse: Warehouse | None = None, roles: Iterable[str] = ()) -> list[Check]:
        """Looks at the database, its settings and the rights of this database user, before something is lost: each
        check says what was seen, why it matters and what mends it. All is well where no `status` is `failure`.

        `roles` of docs/grants.md that this user must have: `generator`, `consumer`, `archiver`, `discarder`; without
        any, all are looked at, and a missing right is a warning. Changes nothing, and works also where reliable
        polling is refused. Takes about a second.

        Raises `InvalidArgument` for another role, `Closed`.
        """
        history = None if warehouse is None else warehouse._handle
        return _checks.doctor(self._handle, history, roles)

    async def adoctor(self, warehouse: Warehouse | None = None, roles: Iterable[str] = ()) -> list[Check]:
        """`doctor` for asyncio."""
        return await asyncio.to_thread(self.doctor, warehouse, list(roles))

    def verify(
        self,
        warehouse: Warehouse | None = None,
        from_id: int = 1,
        to_id: int | None = None,
        *,
        examples: int = 20,
        timeout: float | None = None,
        cancel: Cancel | None = None,
    ) -> Verification:
        """Accounts for every id from `from_id` to `to_id` (`None`: the highest that was allocated): its event is in the
        event table, in the history of `warehouse`, in both and equal; it was discarded or never committed; or
        something is wrong. `if not stream.verify(warehouse): ...` is true where something is.

        Reads both tables once, in bounded memory, and may run while others write, archive and discard. Names at
        most `examples` ids of each finding. Reads no further after `timeout` seconds: then `complete` is false.

        Raises `NotMigrated`, `UnsafeServer`, `PermissionDenied`, `Cancelled`, and those of both databases.
        """
        history = None if warehouse is None else warehouse._handle
        return _checks.verify(self._handle, history, from_id, to_id, examples, timeout, cancel)

    async def averify(
        self, warehouse: Warehouse | None = None, from_id: int = 1, to_id: int | None = None, *, examples: int = 20
    ) -> Verification:
        """`verify` for asyncio; cancelling the task ends it."""
        return await in_thread(lambda cancel: self.verify(warehouse, from_id, to_id, examples=examples, cancel=cancel))


class Transaction(Owner):
    """The caller's own changes and their events, together or not at all: see `EventStream.begin`. It holds one
    connection until it ends. Threads that use one at once wait for each other."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream  # a stream that is forgotten is closed
        with stream._handle as pointer:
            self._handle = Handle.make("transaction", lib.fes_tx_free, lib.fes_stream_begin, pointer)
        self._handle.warns = True
        self._on_server = stream._on_server

    @interruptible
    def execute(self, sql: str, params: Sequence[Parameter] = ()) -> int:
        """Runs a statement of yours; gives how many rows it touched.

        `sql` has the placeholders of the database: `?`, or `$1` on PostgreSQL. `params`: `None`, `bool`, `int`,
        `float`, `str`, `bytes`; on PostgreSQL a `str` may stand for any type with a text form.

        Raises whatever the database says; `Closed` after the end. On PostgreSQL a failed statement dooms the
        transaction. After `Conflict` nothing of it is left on any database.
        """
        values, count = parameters(params)
        rows = c_uint64()
        with self._handle as pointer:
            call(lib.fes_tx_execute, pointer, text(sql, "the SQL"), values, count, byref(rows))
        return rows.value

    @interruptible
    def query(self, sql: str, params: Sequence[Parameter] = ()) -> Rows:
        """Runs a query of yours; gives all its rows, and in `columns` the names of the columns. Otherwise as
        `execute`. On PostgreSQL, columns of unknown types are refused: cast them with `::text`."""
        values, count = parameters(params)
        out = c_void_p()
        try:
            with self._handle as pointer:
                call(lib.fes_tx_query, pointer, text(sql, "the SQL"), values, count, byref(out))
            return rows_of(out)
        finally:
            lib.fes_rows_free(out)

    @interruptible
    def add_event(self, type: str, data: Any = None) -> int:
        """Adds an event that lives and dies with the transaction: see `EventStream.add_event`."""
        with self._handle as pointer:
            return add_event(lib.fes_tx_add_event, pointer, type, data)

    @interruptible
    def add_events(self, events: Iterable[Sequence[Any]]) -> list[int]:
        """Adds events: see `EventStream.add_events`. After an error some may have been added: roll back."""
        with self._handle as pointer:
            return add_events(lib.fes_tx_add_events, pointer, events)

    @interruptible
    def commit(self) -> None:
        """Makes everything durable and visible. The transaction has ended then, also after an error.

        Raises those of the database; `Conflict` if it undid the transaction before; `Closed` if it has ended.
        After `ConnectionLost` it may or may not have been committed.
        """
        self._end(lib.fes_tx_commit)

    @interruptible
    def rollback(self) -> None:
        """Undoes everything. The transaction has ended then.

        Raises those of the database, which undoes it anyway; `Closed` if it has ended.
        """
        self._end(lib.fes_tx_rollback)

    def _end(self, function: Any) -> None:
        try:
            with self._handle as pointer:
                call(function, pointer)
        finally:
            self.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._handle.busy:
            # An interrupt has left a call behind, or another thread is inside of one: it is rolled back, and the
            # connection given up, when nobody holds it any more.
            self._handle.warns = False
            return
        try:
            if not self._handle.closed:
                if kind is None:
                    self.commit()
                else:
                    self.rollback()
        except Error:
            if kind is None:
                raise
            # The database undoes it anyway, and the caller has the error that came first.
        finally:
            self.close()


def add_event(function: Any, pointer: c_void_p, type: str, data: Any) -> int:
    """Adds one event by a C function of a stream or a transaction."""
    encoded = event_data(data)
    new = c_uint64()
    call(function, pointer, event_type(type), encoded, len(encoded), byref(new))
    return new.value


def add_events(function: Any, pointer: c_void_p, events: Iterable[Sequence[Any]]) -> list[int]:
    """Adds events by a C function of a stream or a transaction."""
    pieces: list[bytes] = []  # type, data, type, data ...
    for event in events:
        if isinstance(event, str) or not 1 <= len(event) <= 2:
            raise InvalidArgument(f"an event to be added is (type, data), not {event!r}")
        pieces += (event_type(event[0]) + b"\0", event_data(event[1] if len(event) == 2 else None))
    lengths = list(map(len, pieces))
    block = b"".join(pieces)
    base = cast(c_char_p(block), c_void_p).value or 0
    addresses = list(accumulate(lengths, initial=base))
    count = len(pieces) // 2
    fields = [field for row in zip(addresses[0::2], addresses[1::2], lengths[1::2]) for field in row]
    array = pack(NEW_EVENT_FORMAT * count, *fields)
    ids: Array[c_uint64] = (c_uint64 * count)()
    call(function, pointer, array, count, calcsize(NEW_EVENT_FORMAT), ids)
    return list(ids)
