"""Conversion of the arguments: texts, JSON, options, event types."""

from __future__ import annotations

import json
from contextlib import contextmanager
from ctypes import Array, c_char_p, c_void_p
from typing import Any, Iterable, Iterator, Mapping, Optional, Union

from ._errors import Error, InvalidArgument, InvalidData, InvalidLastId, InvalidOption, InvalidType, call
from ._ffi import lib

#: The value of an option: docs/options.md lists them.
Option = Union[str, int, float, bool]
Options = Mapping[str, Option]
#: Which event types: any number of them, or one; `None` means all.
Want = Union[str, Iterable[str], None]

#: The `type_count` and the `types` of a C function.
Types = tuple[Optional["Array[c_char_p]"], int]


class Json(str):
    """JSON text that is to be the data of an event as it is: it is checked, and not encoded again."""

    __slots__ = ()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def text(value: str, what: str, error: type[Error] = InvalidArgument) -> bytes:
    """The UTF-8 of a text for C, where it ends at the first NUL."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError as why:
        raise error(f"{what} is no Unicode text: {why}") from None
    except AttributeError:
        raise TypeError(f"{what} must be str, not {type(value).__name__}") from None
    if b"\0" in encoded:
        raise error(f"{what} holds a NUL: {value!r}")
    return encoded


def event_type(value: str) -> bytes:
    return text(value, "the event type", InvalidType)


def event_data(value: Any) -> bytes:
    """The JSON text of an event's data."""
    try:
        if isinstance(value, Json):
            return value.encode()
        try:
            return _encode(value).encode()
        except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
            return _encode_ascii(value).encode()
    except (TypeError, ValueError, RecursionError) as why:
        raise InvalidData(f"the event data is not JSON: {why}") from why


def types(want: Want) -> Types:
    """The array of a want."""
    if want is None:
        return None, 0
    names = [event_type(name) for name in ([want] if isinstance(want, str) else want)]
    return (c_char_p * len(names))(*names), len(names)


@contextmanager
def options(given: Options | None, more: Options) -> Iterator[c_void_p | None]:
    """The `fes_options` of a call; `more` wins."""
    values = {**(given or {}), **more}
    if not values:
        yield None
        return
    pointer = c_void_p(lib.fes_options_new())
    try:
        for name, value in values.items():
            key = text(name, "the name of an option", InvalidOption)
            call(lib.fes_options_set, pointer, key, text(_option(name, value), f"the option {name}", InvalidOption))
        yield pointer
    finally:
        lib.fes_options_free(pointer)


def _option(name: str, value: Option) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise InvalidOption(f"the option {name} cannot be {value!r}")


def event_id(value: int) -> int:
    """An id of an event, as the library takes it."""
    if not isinstance(value, int):
        raise TypeError(f"an id must be int, not {type(value).__name__}")
    if not 0 <= value < 2**64:
        raise InvalidLastId(f"{value} is no event id")
    return value


def at_most(limit: int | None) -> int:
    """The limit of a read, as the library takes it, which refuses 0; `None`: no limit of its own."""
    most = 2**32
    return most if limit is None else min(max(limit, 0), most)
