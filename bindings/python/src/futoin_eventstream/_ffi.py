"""The shared library: where it is, and a prototype for each function of its header.

Nothing else of this package knows of ctypes' prototypes; a test compares them with the header.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

#: What this package was written for: `FES_ABI_VERSION` of the header.
ABI_VERSION = 1

#: As a time-out in ms: without an end (`FES_FOREVER`).
FOREVER = 4294967295

FILE_NAME = "libfutoin_eventstream.dylib" if sys.platform == "darwin" else "libfutoin_eventstream.so"


class Value(Structure):
    """`fes_value`."""

    _fields_ = [
        ("kind", c_uint32),
        ("number", c_int64),
        ("real", c_double),
        ("bytes", c_void_p),
        ("len", c_size_t),
    ]


class Event(Structure):
    """`fes_event`."""

    _fields_ = [
        ("id", c_uint64),
        ("type", c_void_p),
        ("type_len", c_size_t),
        ("data", c_void_p),
        ("data_len", c_size_t),
        ("ts", c_int64),
    ]


class Unreadable(Structure):
    """`fes_unreadable`."""

    _fields_ = [
        ("id", c_uint64),
        ("column", c_char_p),
        ("type", c_void_p),
        ("type_len", c_size_t),
        ("data", c_void_p),
        ("data_len", c_size_t),
        ("ts", c_char_p),
    ]


#: `fes_new_event`, in the notation of `struct`: type, data, data_len.
NEW_EVENT_FORMAT = "PPN"

ON_EVENTS = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_void_p)
ON_NOTICE = CFUNCTYPE(None, c_void_p, c_uint32, c_uint64, c_char_p, c_void_p)
ON_LOG = CFUNCTYPE(None, c_void_p, c_uint32, c_char_p)
ON_DESTROY = CFUNCTYPE(None, c_void_p)
#: Python keeps what its callbacks use.
NO_DESTROY = ON_DESTROY()

_STATUS = c_uint32
_HANDLE = c_void_p  # a pointer to any opaque structure
_OUT = POINTER(c_void_p)  # where such a pointer, or one to a text, goes
_ERR = POINTER(c_void_p)
_TYPES = POINTER(c_char_p)
_U64 = POINTER(c_uint64)
_LEN = POINTER(c_size_t)
_VALUES = POINTER(Value)

# The result, then the arguments.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "fes_status_name": (c_char_p, c_uint32),
    "fes_error_new": (_HANDLE, c_uint32, c_char_p),
    "fes_error_code": (_STATUS, _HANDLE),
    "fes_error_name": (c_char_p, _HANDLE),
    "fes_error_message": (c_char_p, _HANDLE),
    "fes_error_sql_state": (c_char_p, _HANDLE),
    "fes_error_is_retriable": (c_bool, _HANDLE),
    "fes_error_unreadable": (POINTER(Unreadable), _HANDLE),
    "fes_error_free": (None, _HANDLE),
    "fes_text_data": (c_void_p, _HANDLE, _LEN),
    "fes_text_free": (None, _HANDLE),
    "fes_version": (c_char_p,),
    "fes_abi_version": (c_uint32,),
    "fes_features": (c_uint32,),
    "fes_options_new": (_HANDLE,),
    "fes_options_set": (_STATUS, _HANDLE, c_char_p, c_char_p, _ERR),
    "fes_options_free": (None, _HANDLE),
    "fes_cancel_token_new": (_HANDLE,),
    "fes_cancel_token_cancel": (None, _HANDLE),
    "fes_cancel_token_is_cancelled": (c_bool, _HANDLE),
    "fes_cancel_token_free": (None, _HANDLE),
    "fes_events_count": (c_size_t, _HANDLE),
    "fes_events_get": (c_void_p, _HANDLE, c_size_t),
    "fes_events_json": (_STATUS, _HANDLE, _OUT, _LEN, _ERR),
    "fes_events_data_json": (_STATUS, _HANDLE, _OUT, _LEN, _ERR),
    "fes_events_refuse": (c_int, _HANDLE, c_char_p),
    "fes_events_free": (None, _HANDLE),
    "fes_rows_count": (c_size_t, _HANDLE),
    "fes_rows_columns": (c_size_t, _HANDLE),
    "fes_rows_column_name": (c_void_p, _HANDLE, c_size_t, _LEN),
    "fes_rows_get": (_VALUES, _HANDLE, c_size_t, c_size_t),
    "fes_rows_free": (None, _HANDLE),
    "fes_event_statement": (_STATUS, c_uint32, c_char_p, c_char_p, c_size_t, _HANDLE, _OUT, _ERR),
    "fes_stream_statement": (_STATUS, _HANDLE, c_char_p, c_char_p, c_size_t, _OUT, _ERR),
    "fes_statement_sql": (c_char_p, _HANDLE, _LEN),
    "fes_statement_param": (c_void_p, _HANDLE, c_size_t, _LEN),
    "fes_statement_free": (None, _HANDLE),
    "fes_stream_open": (_STATUS, c_char_p, _HANDLE, _OUT, _ERR),
    "fes_stream_from_env": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_stream_shutdown": (None, _HANDLE),
    "fes_stream_close": (None, _HANDLE),
    "fes_stream_kind": (c_uint32, _HANDLE),
    "fes_stream_migrate": (_STATUS, _HANDLE, _ERR),
    "fes_stream_add_event": (_STATUS, _HANDLE, c_char_p, c_char_p, c_size_t, _U64, _ERR),
    "fes_stream_add_events": (_STATUS, _HANDLE, c_void_p, c_size_t, c_size_t, _U64, _ERR),
    "fes_stream_lag_json": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_stream_doctor_json": (_STATUS, _HANDLE, _HANDLE, _TYPES, c_size_t, _OUT, _ERR),
    "fes_stream_verify_json": (_STATUS, _HANDLE, _HANDLE, c_uint64, c_uint64, c_size_t, _OUT, _ERR),
    "fes_stream_verify_json_for": (
        *(_STATUS, _HANDLE, _HANDLE, c_uint64, c_uint64, c_size_t, c_uint32, _HANDLE, _OUT, _ERR),
    ),
    "fes_stream_begin": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_tx_execute": (_STATUS, _HANDLE, c_char_p, _VALUES, c_size_t, _U64, _ERR),
    "fes_tx_query": (_STATUS, _HANDLE, c_char_p, _VALUES, c_size_t, _OUT, _ERR),
    "fes_tx_add_event": (_STATUS, _HANDLE, c_char_p, c_char_p, c_size_t, _U64, _ERR),
    "fes_tx_add_events": (_STATUS, _HANDLE, c_void_p, c_size_t, c_size_t, _U64, _ERR),
    "fes_tx_commit": (_STATUS, _HANDLE, _ERR),
    "fes_tx_rollback": (_STATUS, _HANDLE, _ERR),
    "fes_tx_free": (None, _HANDLE),
    "fes_consumer_open": (_STATUS, _HANDLE, c_char_p, c_char_p, _OUT, _ERR),
    "fes_consumer_register": (_STATUS, _HANDLE, _ERR),
    "fes_consumer_register_at": (_STATUS, _HANDLE, c_uint32, c_int64, _ERR),
    "fes_consumer_unregister": (_STATUS, _HANDLE, POINTER(c_bool), _ERR),
    "fes_consumer_poll": (*(_STATUS, _HANDLE, _U64, _TYPES, c_size_t, c_size_t, c_uint32, _HANDLE, _OUT, _ERR),),
    "fes_consumer_acknowledge": (_STATUS, _HANDLE, c_uint64, _ERR),
    "fes_consumer_skip": (_STATUS, _HANDLE, c_uint64, _ERR),
    "fes_consumer_close": (None, _HANDLE),
    "fes_stream_subscribe": (*(_STATUS, _HANDLE, c_char_p, c_char_p, _TYPES, c_size_t, _HANDLE, _OUT, _ERR),),
    "fes_subscription_next": (_STATUS, _HANDLE, c_uint32, _HANDLE, _OUT, _U64, _ERR),
    "fes_subscription_fd": (_STATUS, _HANDLE, POINTER(c_int), _ERR),
    "fes_subscription_ack": (_STATUS, _HANDLE, _ERR),
    "fes_subscription_skip": (_STATUS, _HANDLE, c_uint64, _ERR),
    "fes_subscription_stats": (_STATUS, _HANDLE, _U64, _U64, _U64, _ERR),
    "fes_subscription_close": (None, _HANDLE),
    "fes_receiver_open": (_STATUS, _HANDLE, c_char_p, c_char_p, ON_EVENTS, c_void_p, ON_DESTROY, _OUT, _ERR),
    "fes_receiver_set_want": (_STATUS, _HANDLE, _TYPES, c_size_t, _ERR),
    "fes_receiver_set_options": (_STATUS, _HANDLE, _HANDLE, _ERR),
    "fes_receiver_set_poison": (_STATUS, _HANDLE, c_uint32, c_uint32, _ERR),
    "fes_receiver_set_on_notice": (_STATUS, _HANDLE, ON_NOTICE, c_void_p, ON_DESTROY, _ERR),
    "fes_receiver_start": (_STATUS, _HANDLE, _ERR),
    "fes_receiver_stop": (_STATUS, _HANDLE, _ERR),
    "fes_receiver_stop_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _ERR),
    "fes_receiver_is_running": (c_bool, _HANDLE),
    "fes_receiver_stats": (_STATUS, _HANDLE, _U64, _U64, _U64, _U64, _U64, _ERR),
    "fes_receiver_close": (None, _HANDLE),
    "fes_warehouse_open": (_STATUS, c_char_p, _HANDLE, _OUT, _ERR),
    "fes_warehouse_from_env": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_warehouse_kind": (c_uint32, _HANDLE),
    "fes_warehouse_migrate": (_STATUS, _HANDLE, _ERR),
    "fes_warehouse_history": (_STATUS, _HANDLE, c_uint64, _TYPES, c_size_t, c_size_t, _OUT, _ERR),
    "fes_warehouse_shutdown": (None, _HANDLE),
    "fes_warehouse_close": (None, _HANDLE),
    "fes_replay_open": (_STATUS, _HANDLE, _HANDLE, c_uint64, _TYPES, c_size_t, _OUT, _ERR),
    "fes_replay_next": (_STATUS, _HANDLE, c_size_t, _OUT, _ERR),
    "fes_replay_next_for": (_STATUS, _HANDLE, c_size_t, c_uint32, _HANDLE, _OUT, _ERR),
    "fes_replay_position": (c_uint64, _HANDLE),
    "fes_replay_close": (None, _HANDLE),
    "fes_archiver_open": (_STATUS, _HANDLE, _HANDLE, _HANDLE, _OUT, _ERR),
    "fes_archiver_set_on_notice": (_STATUS, _HANDLE, ON_NOTICE, c_void_p, ON_DESTROY, _ERR),
    "fes_archiver_start": (_STATUS, _HANDLE, _ERR),
    "fes_archiver_stop": (_STATUS, _HANDLE, _ERR),
    "fes_archiver_stop_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _ERR),
    "fes_archiver_is_running": (c_bool, _HANDLE),
    "fes_archiver_run_once": (_STATUS, _HANDLE, _U64, _ERR),
    "fes_archiver_run_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _U64, POINTER(c_bool), _ERR),
    "fes_archiver_close": (None, _HANDLE),
    "fes_discarder_open": (_STATUS, _HANDLE, _HANDLE, _OUT, _ERR),
    "fes_discarder_set_on_notice": (_STATUS, _HANDLE, ON_NOTICE, c_void_p, ON_DESTROY, _ERR),
    "fes_discarder_start": (_STATUS, _HANDLE, _ERR),
    "fes_discarder_stop": (_STATUS, _HANDLE, _ERR),
    "fes_discarder_stop_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _ERR),
    "fes_discarder_is_running": (c_bool, _HANDLE),
    "fes_discarder_run_once": (_STATUS, _HANDLE, _U64, _ERR),
    "fes_discarder_run_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _U64, POINTER(c_bool), _ERR),
    "fes_discarder_close": (None, _HANDLE),
    "fes_app_open": (_STATUS, c_char_p, c_char_p, _HANDLE, _OUT, _ERR),
    "fes_app_from_env": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_app_stream": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_app_warehouse": (_STATUS, _HANDLE, _OUT, _ERR),
    "fes_app_migrate": (_STATUS, _HANDLE, _ERR),
    "fes_app_set_on_notice": (_STATUS, _HANDLE, ON_NOTICE, c_void_p, ON_DESTROY, _ERR),
    "fes_app_start": (_STATUS, _HANDLE, _ERR),
    "fes_app_stop_for": (_STATUS, _HANDLE, c_uint32, _HANDLE, _ERR),
    "fes_app_close": (None, _HANDLE),
    "fes_log_set": (_STATUS, ON_LOG, c_void_p, ON_DESTROY, c_uint32, _ERR),
}


def _load() -> ctypes.CDLL:
    """Loads the library that `FES_LIBRARY` names, else the one that came with this package."""
    path = os.environ.get("FES_LIBRARY") or str(Path(__file__).with_name(FILE_NAME))
    try:
        library = ctypes.CDLL(path)
        for name, (result, *arguments) in PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as why:
        raise ImportError(f"the library of futoin_eventstream cannot be used: {why}") from why
    version = library.fes_abi_version()
    if version < ABI_VERSION:
        raise ImportError(f"{path} has the ABI version {version}, which is below {ABI_VERSION}")
    return library


lib = _load()
