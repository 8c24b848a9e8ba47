"""The service app: stream, archiver and discarder from one configuration."""

from __future__ import annotations

from typing import Any, TypeVar

from . import _sqlite
from ._errors import InvalidArgument, call
from ._ffi import lib
from ._handle import RANK_ROOT, RANK_WORKER, Handle
from ._history import Warehouse
from ._interrupt import aside, interruptible
from ._stream import EventStream
from ._text import Option, Options, text
from ._text import options as _options
from ._worker import OnNotice, Worker, _running

A = TypeVar("A", bound="ServiceApp")


class ServiceApp(Worker):
    """Opens the stream of `url`, and the warehouse of `warehouse_url` if there is one, both with the options. The
    archiver is there with a warehouse, unless the option `enable_archiver` is false; the discarder with
    `enable_discarder`. Any number of threads may use one at once.

    `on_notice`: told how archiver and discarder fare, from their threads, which may call at once; without it
    errors are logged. Starts nothing: `with` closes it, and does not start it.

    Raises as `EventStream`.
    """

    _name = "app"

    def __init__(
        self,
        url: str,
        warehouse_url: str | None = None,
        options: Options | None = None,
        *,
        on_notice: OnNotice = None,
        **more: Option,
    ) -> None:
        addresses = text(url, "the URL"), None if warehouse_url is None else text(warehouse_url, "the URL")
        super().__init__(on_notice)
        with _options(options, more) as given:
            self._make(lib.fes_app_open, *addresses, given)
        for handle, address in (self._stream, url), (self._warehouse, warehouse_url):
            if handle is not None and address is not None:
                _sqlite.watch(handle._handle, address)

    @classmethod
    def from_env(cls: type[A], options: Options | None = None, *, on_notice: OnNotice = None, **more: Option) -> A:
        """Opens both of the environment, the warehouse if `DB_EVTDWH_TYPE` is set: see `EventStream.from_env`."""
        app = cls.__new__(cls)
        Worker.__init__(app, on_notice)
        with _options(options, more) as given:
            app._make(lib.fes_app_from_env, given)
        return app

    def _make(self, function: Any, *arguments: Any) -> None:
        self._handle = aside(
            lambda: Handle.make("service app", lib.fes_app_close, function, *arguments, rank=RANK_WORKER)
        )
        self._on_server = True  # one of the two may be
        self._hear()
        free, function = lib.fes_stream_close, lib.fes_app_stream
        with self._handle as pointer:
            self._stream = EventStream._of(Handle.make("stream", free, function, pointer, rank=RANK_ROOT))
            self._warehouse = self._open_warehouse(pointer)

    def _open_warehouse(self, pointer: Any) -> Warehouse | None:
        free, function = lib.fes_warehouse_close, lib.fes_app_warehouse
        try:
            return Warehouse._of(Handle.make("warehouse", free, function, pointer, rank=RANK_ROOT))
        except InvalidArgument:
            return None

    @property
    def stream(self) -> EventStream:
        """The stream; it is closed with the app."""
        return self._stream

    @property
    def warehouse(self) -> Warehouse | None:
        """The warehouse, if there is one; it is closed with the app."""
        return self._warehouse

    @interruptible
    def migrate(self) -> None:
        """Makes the tables of the stream and of the warehouse, or brings them up to date.

        Raises as `EventStream.migrate`.
        """
        with self._handle as pointer:
            call(lib.fes_app_migrate, pointer)

    def close(self) -> None:
        """Stops the discarder, then the archiver after the batch that it is at, closes stream and warehouse.
        Returns after the last notice; not from inside a notice. May be called twice."""
        if self._inside():
            raise InvalidArgument("a service app cannot be closed by its own notice")
        for worker in list(self._stream._workers):
            worker.stop()
        self.stop()
        self._handle.close()
        _running.discard(self)
        self._stream.close()
        if self._warehouse is not None:
            self._warehouse.close()
