"""Events in your own SQL database: written in the transaction that made them true, delivered to every registered
consumer in order, none lost. For SQLite, PostgreSQL, MySQL and MariaDB.

    import futoin_eventstream as fes

    with fes.EventStream("sqlite:app.db") as stream:
        stream.migrate()
        audit = stream.consumer("Audit", user="app")
        audit.register()
        stream.add_event("USR_ADD", {"name": "Ann"})
        for event in audit.poll():
            print(event.id, event.type, event.data)
            audit.acknowledge(event.id)

Everything may be used from any thread. Calls that wait let other threads run; waits for events end within 200 ms
of Ctrl-C, waits for the database when the database answers or the options `connect_timeout_ms` and
`busy_timeout_ms` say so. A call on a closed object raises `Closed`. Everything is closed at exit at the latest.

In a program that also uses Python's `sqlite3`: never on the file of an open stream. See the README.
"""

from ._app import ServiceApp
from ._checks import Check, Verification, VerifyExample, VerifyFinding
from ._consumer import Consumer, Start
from ._errors import (
    Busy,
    Cancelled,
    Closed,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    Constraint,
    CorruptEvent,
    Database,
    Error,
    ForeignSchema,
    ForeignSqlite,
    Forked,
    HistoryConflict,
    IdentTooLong,
    Internal,
    InvalidArgument,
    InvalidComponent,
    InvalidData,
    InvalidLastId,
    InvalidOption,
    InvalidType,
    InvalidUrl,
    InvalidUser,
    LateEvent,
    LiveNotAllowed,
    NewerSchema,
    NotMigrated,
    NotRegistered,
    Occupied,
    OutOfResources,
    Panic,
    PermissionDenied,
    SecurityError,
    StreamRewound,
    Timeout,
    TooLarge,
    TransactionEnded,
    UnreadableEvent,
    UnsafeServer,
)
from ._events import Event
from ._ffi import lib as _lib
from ._history import Archiver, Discarder, Replay, Warehouse
from ._log import log_to
from ._receiver import LiveReceiver, OnEvents, ReliableReceiver
from ._sqlite import ForeignSqliteWarning
from ._statement import ParamStyle, Statement, statement
from ._stream import EventStream, Transaction
from ._subscription import Delivery, Subscription
from ._text import Json, Option, Options, Want
from ._values import Parameter, Rows
from ._wait import Cancel
from ._worker import Notice, NoticeKind, OnNotice

#: The version of the library.
__version__: str = _lib.fes_version().decode()

__all__ = [
    "Archiver",
    "Busy",
    "Cancel",
    "Cancelled",
    "Check",
    "Closed",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "Constraint",
    "Consumer",
    "CorruptEvent",
    "Database",
    "Delivery",
    "Discarder",
    "Error",
    "Event",
    "EventStream",
    "ForeignSchema",
    "ForeignSqlite",
    "ForeignSqliteWarning",
    "Forked",
    "HistoryConflict",
    "IdentTooLong",
    "Internal",
    "InvalidArgument",
    "InvalidComponent",
    "InvalidData",
    "InvalidLastId",
    "InvalidOption",
    "InvalidType",
    "InvalidUrl",
    "InvalidUser",
    "Json",
    "LateEvent",
    "LiveNotAllowed",
    "LiveReceiver",
    "NewerSchema",
    "NotMigrated",
    "NotRegistered",
    "Notice",
    "NoticeKind",
    "Occupied",
    "OnEvents",
    "OnNotice",
    "Option",
    "Options",
    "OutOfResources",
    "Panic",
    "ParamStyle",
    "Parameter",
    "PermissionDenied",
    "ReliableReceiver",
    "Replay",
    "Rows",
    "SecurityError",
    "ServiceApp",
    "Start",
    "Statement",
    "StreamRewound",
    "Subscription",
    "Timeout",
    "TooLarge",
    "Transaction",
    "TransactionEnded",
    "UnreadableEvent",
    "UnsafeServer",
    "Verification",
    "VerifyExample",
    "VerifyFinding",
    "Want",
    "Warehouse",
    "log_to",
    "statement",
]
