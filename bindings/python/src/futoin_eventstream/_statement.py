"""The INSERT that adds an event on the caller's own connection, in the parameter style of its driver."""

from __future__ import annotations

import re
from ctypes import byref, c_size_t, c_void_p, string_at
from types import ModuleType
from typing import Any, Callable, Union

from ._errors import InvalidArgument, call
from ._ffi import lib
from ._text import Option, Options, event_data, event_type, options

#: What `fes_database_kind` calls them.
KINDS = {"sqlite": 1, "postgres": 2, "mysql": 3}
_ALIASES = {"postgresql": "postgres", "mariadb": "mysql", "sqlite3": "sqlite"}

#: A PEP 249 parameter style, or `numeric_dollar` (`$1`), or a driver's module, which has one.
ParamStyle = Union[str, ModuleType, None]
#: The SQL and its parameters, for `cursor.execute(*statement)`.
Statement = tuple[str, Any]

_NAMES = ("event_type", "event_data")
#: The placeholders that each style writes for the parameters 0 and 1.
_MARKS: dict[str, Callable[[int], str]] = {
    "qmark": lambda index: "?",
    "numeric": lambda index: f":{index + 1}",
    "numeric_dollar": lambda index: f"${index + 1}",
    "named": lambda index: f":{_NAMES[index]}",
    "format": lambda index: "%s",
    "pyformat": lambda index: f"%({_NAMES[index]})s",
}
_DEFAULTS = {"sqlite": "qmark", "postgres": "format", "mysql": "format"}


def database_kind(kind: str) -> str:
    """The name of a kind of database: `sqlite`, `postgres` or `mysql`."""
    name = _ALIASES.get(kind, kind)
    if name not in KINDS:
        raise InvalidArgument(f"{kind!r} is no kind of database: sqlite, postgres, mysql")
    return name


def statement(
    kind: str,
    type: str,
    data: Any = None,
    paramstyle: ParamStyle = None,
    options: Options | None = None,
    **more: Option,
) -> Statement:
    """Makes the statement that adds an event, for a connection of your own: `cursor.execute(*statement(...))`.
    The event lives and dies with the transaction that it is run in. Needs no stream and no connection.

    `kind`: `sqlite`, `postgres` or `mysql` (MariaDB, too).
    `type`, `data`: as `EventStream.add_event`.
    `paramstyle`: `qmark`, `numeric`, `named`, `format`, `pyformat` of PEP 249, `numeric_dollar` (`$1`), or the
    driver's module, for example `psycopg`. By default `qmark` for SQLite, else `format`. The parameters are a
    dict for `named` and `pyformat`, else a tuple.
    `options`: `event_table` and `max_event_bytes` matter.

    Raises `InvalidType`, `InvalidData`, `TooLarge`, `InvalidArgument`, `InvalidOption`.
    """
    name, kind = event_type(type), database_kind(kind)
    text = event_data(data)
    with _options(options, more) as given:
        return take_statement(kind, paramstyle, lib.fes_event_statement, KINDS[kind], name, text, len(text), given)


_options = options


def take_statement(kind: str, paramstyle: ParamStyle, function: Any, *arguments: Any) -> Statement:
    """The statement that a C function makes, rewritten in the style."""
    pointer = c_void_p()
    try:
        call(function, *arguments, byref(pointer))
        sql = lib.fes_statement_sql(pointer, None).decode()
        length = c_size_t()
        params = []
        for index in 0, 1:
            start = lib.fes_statement_param(pointer, index, byref(length))
            params.append(string_at(start, length.value).decode())
    finally:
        lib.fes_statement_free(pointer)
    return _styled(kind, sql, params, _style(kind, paramstyle))


def _style(kind: str, paramstyle: ParamStyle) -> str:
    style = getattr(paramstyle, "paramstyle", paramstyle) or _DEFAULTS[kind]
    if style not in _MARKS:
        raise InvalidArgument(f"{style!r} is no parameter style: {', '.join(_MARKS)}")
    return str(style)


def _styled(kind: str, sql: str, params: list[str], style: str) -> Statement:
    if style in ("format", "pyformat"):
        sql = sql.replace("%", "%%")
    marks = [_MARKS[style](index) for index in (0, 1)]
    rest = iter(marks)
    # A table's name is letters, digits and _, and the rest of the SQL has neither `?` nor `$`.
    sql = re.sub(r"\?|\$\d", lambda _: next(rest), sql)
    if style in ("named", "pyformat"):
        return sql, dict(zip(_NAMES, params))
    return sql, tuple(params)
