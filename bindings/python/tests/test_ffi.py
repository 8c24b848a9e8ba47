"""The prototypes and the classes are those of the header."""

from __future__ import annotations

import re
from ctypes import POINTER, Structure, _CFuncPtr, c_void_p, sizeof  # type: ignore[attr-defined]
from pathlib import Path

import pytest

import futoin_eventstream as fes
from futoin_eventstream import _errors, _ffi

ROOT = Path(__file__).resolve().parents[3]
HEADER = (ROOT / "include/futoin_eventstream.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
SYMBOLS = (ROOT / "include/symbols.txt").read_text().split()

#: What a C type may be in a prototype.
NAMES = {"c_uint": "uint32_t", "c_ulong": "uint64_t", "c_long": "int64_t", "c_int": "int32_t", "c_bool": "bool"}


def declarations() -> dict[str, tuple[str, list[str]]]:
    """The result and the arguments of each function of the header."""
    found = {}
    for result, name, arguments in re.findall(r"^([\w *]+?)\b(fes_\w+)\(([^()]*)\);", CODE, re.MULTILINE):
        types = [" ".join(argument.split()) for argument in arguments.split(",")]
        found[name] = (" ".join(result.split()), [] if types == ["void"] else types)
    return found


def shape(c_type: object) -> str:
    """A pointer, or the C name of a number."""
    if c_type is None:
        return "void"
    if getattr(c_type, "__name__", "") in ("c_void_p", "c_char_p") or isinstance(c_type, type(POINTER(c_void_p))):
        return "pointer"
    if isinstance(c_type, type) and issubclass(c_type, _CFuncPtr):
        return "callback"
    return NAMES[c_type.__name__]  # type: ignore[attr-defined]


def declared_shape(text: str) -> str:
    if "*" in text:
        return "pointer"
    if text.startswith("fes_on_"):
        return "callback"
    word = text.split()[0]
    return {"size_t": "uint64_t", "fes_status": "uint32_t"}.get(word, word)


def test_every_function_of_the_library_is_declared_as_in_the_header() -> None:
    header = declarations()
    assert "fes_stream_open" in header and len(header) > 90
    for name in SYMBOLS:
        assert name in _ffi.PROTOTYPES, name
    for name, (result, *arguments) in _ffi.PROTOTYPES.items():
        assert name in header, name
        declared_result, declared = header[name]
        assert shape(result) == declared_shape(declared_result), name
        assert [shape(argument) for argument in arguments] == [declared_shape(argument) for argument in declared], name


def test_structures_are_those_of_the_header() -> None:
    for name, structure in ("fes_event", _ffi.Event), ("fes_value", _ffi.Value):
        body = re.search(r"typedef struct \{([^{}]*)\} " + name + ";", CODE)
        assert body
        fields = re.findall(r"(\w+);", body[1])
        assert fields == [field[0] for field in structure._fields_], name
        assert sizeof(structure) == 8 * len(fields)
    assert issubclass(_ffi.Event, Structure)


def test_every_status_has_its_exception() -> None:
    codes = dict(re.findall(r"^\s+FES_(\w+) = (\d+),", HEADER.split("enum fes_value_kind")[0], re.MULTILINE))
    assert len(codes) > 30
    assert {int(code) for code in codes.values()} - {0} == set(_errors.CLASSES)
    for kind in _errors.CLASSES.values():
        assert getattr(fes, kind.name) is kind is getattr(fes, kind.__name__)
        assert _ffi.lib.fes_status_name(kind.code).decode() == kind.name
        pointer = _ffi.lib.fes_error_new(kind.code, b"why")
        error = _errors.error_at(pointer)
        assert type(error) is kind and str(error) == "why"
        assert kind.retriable == _ffi.lib.fes_error_is_retriable(pointer)
        _ffi.lib.fes_error_free(pointer)


def test_enumerations_are_those_of_the_header() -> None:
    for name, number in re.findall(r"FES_NOTICE_(\w+) = (\d+)", HEADER):
        assert fes.NoticeKind[name] == int(number)
    assert _ffi.FOREVER == int(re.search(r"#define FES_FOREVER (\d+)", HEADER)[1])  # type: ignore[index]
    assert _ffi.ABI_VERSION == int(re.search(r"#define FES_ABI_VERSION (\d+)", HEADER)[1])  # type: ignore[index]
    assert fes.__version__ == re.search(r'#define FES_VERSION "(.*)"', HEADER)[1]  # type: ignore[index]


def test_a_library_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FES_LIBRARY", "/nowhere/lib.so")
    with pytest.raises(ImportError, match="/nowhere/lib.so"):
        _ffi._load()
    monkeypatch.setenv("FES_LIBRARY", "libc.so.6")
    with pytest.raises(ImportError, match="fes_status_name"):
        _ffi._load()
