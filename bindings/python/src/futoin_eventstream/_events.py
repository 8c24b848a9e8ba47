"""Conversion of the results: events, read in bulk from a batch of the library."""

from __future__ import annotations

import json
import secrets
from ctypes import c_void_p, sizeof, string_at
from datetime import datetime, timedelta, timezone
from itertools import chain, repeat
from typing import Any, NoReturn, Sequence

from ._errors import CorruptEvent, UnreadableEvent
from ._ffi import Event as Record
from ._ffi import lib
from ._text import Json, event_data

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

if sizeof(Record) != 48:
    raise ImportError("futoin_eventstream needs a 64-bit Python")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode

# Between the data of events that are parsed as one text. Nobody can write it into an event, so what does not
# stand between two of them is no JSON of its own, even if the text as a whole is.
_FENCE = secrets.token_hex(4)
_FENCE_JSON = f',"{_FENCE}",'.encode()


def _time(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


class _Batch:
    """A copy of a `fes_events`. The first use of a field computes it for all events at once."""

    __slots__ = ("_parts", "_records", "_text", "_types", "values")

    def __init__(self, text: bytes, records: memoryview) -> None:
        self._text: bytes | None = text  # type NUL data NUL type NUL ... data
        self._records = records  # of the fes_event array
        self._parts: list[bytes] = []
        self._types: list[str] | None = None
        #: The data of all events, once somebody asked.
        self.values: Sequence[Any] | None = None

    def _split(self) -> list[bytes]:
        """The texts: type, data, type, data ..."""
        if (text := self._text) is None:
            return self._parts
        parts = text.split(b"\0")
        if len(parts) != len(self._records) // 3:  # plain SQL wrote a NUL somewhere
            lengths = self._records.tolist()
            parts, at = [], 0
            for length in chain.from_iterable(zip(lengths[2::6], lengths[4::6])):
                parts.append(text[at : at + length])
                at += length + 1
        self._parts = parts
        self._text = None  # the last, for other threads
        return parts

    def type(self, index: int) -> str:
        types = self._types
        if types is None:
            encoded = self._split()[0::2]
            names = {name: name.decode() for name in set(encoded)}
            types = self._types = [names[name] for name in encoded]
        return types[index]

    def raw(self, index: int) -> str:
        return self._split()[2 * index + 1].decode()

    @property
    def count(self) -> int:
        return len(self._records) // 6

    def id(self, index: int) -> int:
        id: int = self._records[6 * index]
        return id

    def ts(self, index: int) -> int:
        seconds: int = self._records[6 * index + 5]
        return seconds - 2**64 if seconds >= 2**63 else seconds

    def parse(self) -> Sequence[Any]:
        """Makes `values`."""
        data = self._split()[1::2]
        try:
            mixed = _decode((b"[" + _FENCE_JSON.join(data) + b"]").decode())
            values: list[Any] = mixed[0::2]
            if len(values) == len(data) and mixed[1::2] == [_FENCE] * (len(values) - 1):
                self.values = values
                return values
        except (ValueError, RecursionError):
            pass
        corrupt = self.values = _Corrupt(self)
        return corrupt


class _Corrupt(Sequence[Any]):
    """The data of a batch of which at least one is not JSON: each is parsed when it is asked for."""

    def __init__(self, batch: _Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return self._batch.count

    def __getitem__(self, index: Any) -> Any:
        batch = self._batch
        text = batch.raw(index)
        try:
            return _decode(text)
        except (ValueError, RecursionError) as why:
            id, ts = batch.id(index), _time(batch.ts(index))
            error = CorruptEvent(f"the data of event {id} is not JSON: {why}")
            error.unreadable = UnreadableEvent(id, "data", batch.type(index).encode(), text.encode(), f"{ts:{_FORMAT}}")
            raise error from None


class Event:
    """One event: `id`, `type`, `data`, `ts`. It does not change, and any thread may read it."""

    __slots__ = ("_batch", "_index", "id")

    #: Positive, increasing within a stream, gaps allowed, below 10**18.
    id: int

    def __init__(self, id: int, batch: _Batch, index: int) -> None:
        # Called for every event that is read: see `make` for making one by hand.
        self.id = id
        self._batch = batch
        self._index = index

    @classmethod
    def make(cls, id: int, type: str, data: Any = None, ts: datetime = EPOCH) -> Event:
        """Makes an event, for tests of what takes one. `data` is anything that JSON can hold, or `Json`."""
        name, text = type.encode(), event_data(data)
        seconds = (ts - EPOCH) // timedelta(seconds=1)
        record = bytes(Record(id, None, len(name), None, len(text), seconds))
        return cls(id, _Batch(name + b"\0" + text, memoryview(record).cast("Q")), 0)

    @property
    def type(self) -> str:
        """The type: 1 to 16 of `A` to `Z` and `_`."""
        return self._batch.type(self._index)

    @property
    def data(self) -> Any:
        """The data, as `json.loads` gives it. Parsed at the first access, for the whole batch at once; every
        access gives the same object.

        Raises `CorruptEvent` if plain SQL has put something into the table that is not JSON; the other events of
        the batch are not touched by that. With the option `check_json` such a row is given to nobody: `poll`
        raises in its place.
        """
        values = self._batch.values
        if values is None:
            values = self._batch.parse()
        return values[self._index]

    @property
    def raw(self) -> str:
        """The JSON text of the data, exactly as it was written. Give it to `Json` to add it again."""
        return self._batch.raw(self._index)

    @property
    def ts(self) -> datetime:
        """When it was added, by the clock of the database: UTC, whole seconds."""
        return _time(self._batch.ts(self._index))

    def _key(self) -> tuple[int, str, str, int]:
        batch, index = self._batch, self._index
        return self.id, batch.type(index), batch.raw(index), batch.ts(index)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Event(id={self.id}, type={self.type!r}, data={self.raw}, ts={self.ts:{_FORMAT}})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.id, self.type, self.raw, self.ts)


def _remade(id: int, type: str, raw: str, ts: datetime) -> Event:
    return Event.make(id, type, Json(raw), ts)


def events_of(pointer: c_void_p | int | None) -> list[Event]:
    """The events of a `fes_events`, copied: it may be freed afterwards."""
    count = lib.fes_events_count(pointer)
    if not count:
        return []
    records = memoryview(string_at(lib.fes_events_get(pointer, 0), count * sizeof(Record))).cast("Q")
    start, end = records[1], records[-3] + records[-2]
    size = sum(records[2::6].tolist()) + sum(records[4::6].tolist()) + 2 * count - 1
    if end - start == size:  # one block, as the library makes it
        text = string_at(start, size)
    else:
        addresses, lengths = records.tolist()[1::6], records.tolist()[2::6]
        addresses += records.tolist()[3::6]
        lengths += records.tolist()[4::6]
        pieces = [string_at(address, length) for address, length in zip(addresses, lengths)]
        text = b"\0".join(piece for pair in zip(pieces[:count], pieces[count:]) for piece in pair)
    return list(map(Event, records[0::6].tolist(), repeat(_Batch(text, records)), range(count)))
