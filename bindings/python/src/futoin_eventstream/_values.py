"""SQL values: parameters that go in, rows that come out."""

from __future__ import annotations

from ctypes import Array, c_char_p, c_void_p, cast, string_at
from typing import Any, List, Sequence, Tuple, Union

from ._errors import InvalidArgument
from ._ffi import Value, lib

#: The types of a bound parameter and of a column of a row.
Parameter = Union[None, bool, int, float, str, bytes]

NULL, BOOL, INT, UINT, REAL, TEXT, BYTES = range(7)


def parameters(params: Sequence[Parameter]) -> tuple[Array[Value] | None, int]:
    """The array of `fes_value`; it keeps alive what it points to."""
    if isinstance(params, (str, bytes)):
        raise InvalidArgument("params must be a sequence of values, not one text")
    if not params:
        return None, 0
    array = (Value * len(params))()
    kept: list[Any] = []
    for value, param in zip(array, params):
        _fill(value, param, kept)
    array.kept = kept  # type: ignore[attr-defined]
    return array, len(params)


def _fill(value: Value, param: Parameter, kept: list[Any]) -> None:
    if param is None:
        value.kind = NULL
    elif isinstance(param, bool):
        value.kind, value.number = BOOL, param
    elif isinstance(param, int):
        if not -(2**63) <= param < 2**64:
            raise InvalidArgument(f"{param} does not fit into 64 bits: give it as str")
        value.kind = INT if param < 2**63 else UINT
        value.number = param if param < 2**63 else param - 2**64
    elif isinstance(param, float):
        value.kind, value.real = REAL, param
    elif isinstance(param, (str, bytes, bytearray, memoryview)):
        value.kind = TEXT if isinstance(param, str) else BYTES
        try:
            content = param.encode() if isinstance(param, str) else bytes(param)
        except UnicodeEncodeError as why:
            raise InvalidArgument(f"a parameter is no Unicode text: {why}") from None
        pointer = c_char_p(content)
        kept.append(pointer)
        value.bytes, value.len = cast(pointer, c_void_p).value, len(content)
    else:
        raise InvalidArgument(f"a parameter cannot be {type(param).__name__}: give it as str")


class Rows(List[Tuple[Parameter, ...]]):
    """The rows of a query, a list of tuples, with the names of their columns."""

    #: As the database gives them; also if there is no row, but for PostgreSQL with `pooler=transaction`.
    columns: tuple[str, ...] = ()


def rows_of(rows: c_void_p) -> Rows:
    """All rows of a `fes_rows`, copied."""
    columns = range(lib.fes_rows_columns(rows))
    result = Rows(
        tuple(_value(lib.fes_rows_get(rows, row, column).contents) for column in columns)
        for row in range(lib.fes_rows_count(rows))
    )
    result.columns = tuple(string_at(lib.fes_rows_column_name(rows, column, None)).decode() for column in columns)
    return result


def _value(value: Any) -> Parameter:
    kind = value.kind
    if kind == NULL:
        return None
    if kind == BOOL:
        return bool(value.number)
    if kind == INT:
        return int(value.number)
    if kind == UINT:
        return int(value.number) % 2**64
    if kind == REAL:
        return float(value.real)
    content = string_at(value.bytes, value.len) if value.len else b""
    return content.decode() if kind == TEXT else content
