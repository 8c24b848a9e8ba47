"""The exceptions: one class for each status of the library."""

from __future__ import annotations

from ctypes import byref, c_void_p, string_at
from dataclasses import dataclass
from typing import Any, ClassVar

from ._ffi import lib


class Error(Exception):
    """Why a call failed. Every exception of this package is below it.

    `str(error)` says what went wrong and what to do. To test how a program takes an error, raise one:
    `raise fes.Busy("try later")`.
    """

    #: The number of the status, the same in every language.
    code: ClassVar[int] = 0
    #: The name of the status, the same in every language.
    name: ClassVar[str] = "Error"
    #: Whether the same call may succeed later without a change by the caller. After `ConnectionLost` of a
    #: write, look first whether it happened. For `ConnectFailed` it depends on the reason: a server that is
    #: down may come back, a wrong password stays wrong.
    retriable: bool = False
    #: The server's own code: SQLSTATE on PostgreSQL, the error number on MySQL and MariaDB, the extended
    #: result code on SQLite; empty if there is none.
    sql_state: str = ""


class InvalidType(Error):
    """An event type that is not 1 to 16 of `A` to `Z` and `_`."""

    code, name = 1, "InvalidType"


class InvalidData(Error):
    """Event data that is not JSON, or that the server cannot hold."""

    code, name = 2, "InvalidData"


class TooLarge(Error):
    """An event above the option `max_event_bytes`."""

    code, name = 3, "TooLarge"


class InvalidComponent(Error):
    """A component that is not 1 to 16 letters, digits and `_`."""

    code, name = 4, "InvalidComponent"


class InvalidUser(Error):
    """A user that is empty or holds something else than printable ASCII without `:`."""

    code, name = 5, "InvalidUser"


class IdentTooLong(Error):
    """`user:component` is longer than 64 characters."""

    code, name = 6, "IdentTooLong"


class InvalidLastId(Error):
    """An id that is no event id, or above the highest one that was ever allocated."""

    code, name = 7, "InvalidLastId"


class InvalidOption(Error):
    """An unknown option, or a value of one that makes no sense."""

    code, name = 8, "InvalidOption"


class InvalidUrl(Error):
    """A database URL that cannot be understood."""

    code, name = 9, "InvalidUrl"


class InvalidArgument(Error):
    """Another argument that makes no sense."""

    code, name = 10, "InvalidArgument"


class NotRegistered(Error):
    """The consumer is not registered."""

    code, name = 20, "NotRegistered"


class LiveNotAllowed(Error):
    """The component `LIVE` cannot do this."""

    code, name = 21, "LiveNotAllowed"


class SecurityError(Error):
    """The options of the stream forbid this."""

    code, name = 22, "SecurityError"


class PermissionDenied(Error):
    """The server refused; the message names the privilege that is missing."""

    code, name = 23, "PermissionDenied"


class Occupied(Error):
    """Another receiver of the same consumer is at work, here or in another process."""

    code, name, retriable = 24, "Occupied", True


class ConnectFailed(Error):
    """No connection: address, password, TLS, or none free in time."""

    code, name, retriable = 30, "ConnectFailed", True


class ConnectionLost(Error):
    """The connection broke; a write may or may not have happened."""

    code, name, retriable = 31, "ConnectionLost", True


class Busy(Error):
    """Somebody else held a lock for too long."""

    code, name, retriable = 32, "Busy", True


class Conflict(Error):
    """The server undid the transaction because of another one: run it again from its beginning."""

    code, name, retriable = 33, "Conflict", True


class Timeout(Error):
    """The call did not end in the time it was given."""

    code, name, retriable = 34, "Timeout", True


class OutOfResources(Error):
    """The process has no descriptor, thread or memory left for the call."""

    code, name, retriable = 35, "OutOfResources", True


class TransactionEnded(Error):
    """The transaction was ended behind its handle: by COMMIT, ROLLBACK or DDL in the caller's own SQL."""

    code, name = 36, "TransactionEnded"


class NotMigrated(Error):
    """The tables are missing: call `migrate()`."""

    code, name = 40, "NotMigrated"


class ForeignSchema(Error):
    """Tables of these names exist, but they are something else."""

    code, name = 41, "ForeignSchema"


class NewerSchema(Error):
    """The tables were made by a newer version."""

    code, name = 42, "NewerSchema"


class UnsafeServer(Error):
    """The server, as it is set up, cannot keep the promise of order without loss."""

    code, name = 43, "UnsafeServer"


class ForeignSqlite(Error):
    """Another SQLite library in this process, such as Python's `sqlite3`, has the file open."""

    code, name = 44, "ForeignSqlite"


@dataclass(frozen=True)
class UnreadableEvent:
    """A row that cannot be read as an event: which one it is, and what stands there."""

    #: Its id, for `skip`.
    id: int
    #: The column that cannot be read: `type`, `data` or `ts`.
    column: str
    #: The bytes of the type; `None` for NULL.
    type: bytes | None
    #: The bytes of the data; `None` for NULL.
    data: bytes | None
    #: The time stamp, as the database shows it.
    ts: str


class CorruptEvent(Error):
    """A row that cannot be read as an event."""

    code, name = 45, "CorruptEvent"
    #: The row, if the error is about one.
    unreadable: UnreadableEvent | None = None


class HistoryConflict(Error):
    """The history has another event of the same id."""

    code, name = 46, "HistoryConflict"


class StreamRewound(Error):
    """The stream lost events or began anew: a restore, a failover that lost commits, TRUNCATE. Reading
    goes on from the stored cursor, or from the beginning where that is lower."""

    code, name, retriable = 47, "StreamRewound", True


class LateEvent(Error):
    """An event appeared below ids that were settled before: its id was allocated, or given, before its
    INSERT. Consumers that have passed over it will not get it."""

    code, name = 48, "LateEvent"


class Constraint(Error):
    """The caller's own statement violated a constraint."""

    code, name = 50, "Constraint"


class Database(Error):
    """The database refused a statement for another reason."""

    code, name = 51, "Database"


class Closed(Error):
    """The stream, the subscription or the transaction has ended, or was closed."""

    code, name = 60, "Closed"


class Forked(Closed):
    """The object belongs to the parent process of this forked one. Open a new one in the
    child and nothing before the fork, or use `multiprocessing` with the start method `spawn` or `forkserver`."""


class Cancelled(Error):
    """A `Cancel` ended the wait."""

    code, name = 70, "Cancelled"


class Internal(Error):
    """A defect of the library. Please report it."""

    code, name = 99, "Internal"


class Panic(Error):
    """A defect of the library that was caught at its boundary. Only close the objects of the call."""

    code, name = 100, "Panic"


CLASSES: dict[int, type[Error]] = {kind.code: kind for kind in Error.__subclasses__()}


def error_at(pointer: c_void_p | int | None) -> Error:
    """The exception that tells what the `fes_error` tells, which stays its owner's."""
    kind = CLASSES.get(lib.fes_error_code(pointer), Internal)
    error = kind(lib.fes_error_message(pointer).decode())
    error.sql_state = lib.fes_error_sql_state(pointer).decode()
    error.retriable = bool(lib.fes_error_is_retriable(pointer))
    row = lib.fes_error_unreadable(pointer)
    if row and isinstance(error, CorruptEvent):
        error.unreadable = _unreadable(row.contents)
    return error


def _unreadable(row: Any) -> UnreadableEvent:
    kind = string_at(row.type, row.type_len) if row.type else None
    data = string_at(row.data, row.data_len) if row.data else None
    return UnreadableEvent(row.id, row.column.decode(), kind, data, row.ts.decode())


def no_thread(name: str, why: Exception) -> OutOfResources:
    """The system gives no thread."""
    return OutOfResources(f"the system gives no thread {name} ({why}): raise the limit of threads, or use fewer")


def call(function: Any, *arguments: Any) -> None:
    """Calls a function of the library that takes `err` last, and raises what it says."""
    err = c_void_p()
    if function(*arguments, byref(err)):
        try:
            raise error_at(err)
        finally:
            lib.fes_error_free(err)
