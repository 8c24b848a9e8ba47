"""The trap of two SQLite libraries in one process, seen from the other side.

Opening a stream is refused if Python's `sqlite3` has the file open. Here it is noticed when `sqlite3` opens the
file of a stream that is open: POSIX locks belong to the process, so its `close` drops the stream's.
"""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from typing import Any
from urllib.parse import unquote

from ._handle import Handle

_files: weakref.WeakKeyDictionary[Handle, tuple[int, int]] = weakref.WeakKeyDictionary()
_hooked = False


class ForeignSqliteWarning(RuntimeWarning):
    """Python's `sqlite3` opened the file of an open stream: acknowledged events can vanish."""


def watch(handle: Handle, url: str) -> None:
    """Warns from now on when `sqlite3` opens the file of this stream or warehouse, if it is in SQLite."""
    global _hooked
    scheme, _, path = url.partition(":")
    file = _file_id(unquote(path.partition("?")[0]).removeprefix("//")) if scheme == "sqlite" else None
    if file is None:
        return
    _files[handle] = file
    if not _hooked:
        _hooked = True
        sys.addaudithook(_on_audit)


def _file_id(path: Any) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError, TypeError):  # in memory, or not there
        return None
    return status.st_dev, status.st_ino


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "sqlite3.connect":
        return
    file = _file_id(arguments[0])
    if file is not None and any(known == file and not handle.closed for handle, known in list(_files.items())):
        warnings.warn(
            f"sqlite3 opens {arguments[0]!r}, which a stream of this process has open: their locks break each other, "
            "and acknowledged events can vanish. Close the stream first, or use another process",
            ForeignSqliteWarning,
            stacklevel=3,
        )
