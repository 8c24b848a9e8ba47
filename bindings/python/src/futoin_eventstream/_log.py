"""The library's log, given to Python's `logging`."""

from __future__ import annotations

import logging

from ._errors import call
from ._ffi import NO_DESTROY, ON_LOG, lib
from ._handle import inside
from ._worker import logger as _default

# The levels of fes_log_level, from 1: error, warn, info, debug, trace.
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, 5)
_logger = _default


def _on_log(_: int | None, level: int, message: bytes) -> None:
    inside.log = True
    try:
        _logger.log(_LEVELS[min(max(level, 1), 5) - 1], "%s", message.decode(errors="replace"))
    except BaseException:  # a log that fails must not end a thread of the library
        pass
    finally:
        inside.log = False


_on_log_c = ON_LOG(_on_log)


def log_to(logger: logging.Logger | str | None = "futoin_eventstream", level: int = logging.INFO) -> None:
    """Sends the library's log to a logger of `logging`, in place of where it went before; `None` for nowhere, as
    it is at first. One for the process. Messages below `level` are not made at all; the lowest, below
    `logging.DEBUG`, has everything of the database drivers, too.

    Messages come from any thread. Handlers must not block for long, and must not use this package.
    """
    global _logger
    if logger is None:
        call(lib.fes_log_set, ON_LOG(), None, NO_DESTROY, 0)
        return
    number = next((index for index, least in enumerate(_LEVELS, 1) if level >= least), 5)
    _logger = logging.getLogger(logger) if isinstance(logger, str) else logger
    call(lib.fes_log_set, _on_log_c, None, NO_DESTROY, number)
