"""Receivers: consumers that are called back."""

from __future__ import annotations

import inspect
from ctypes import byref, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union

from ._errors import InvalidArgument, LiveNotAllowed, call
from ._ffi import NO_DESTROY, lib
from ._handle import RANK_WORKER, Handle
from ._subscription import Delivery
from ._text import Option, Options, Want, text, types
from ._text import options as _options
from ._worker import OnNotice, Runner
from ._worker import on_events as c_on_events

if TYPE_CHECKING:
    from ._stream import EventStream

#: Called with every delivery, a list of events. To return acknowledges them; after an exception they come again.
OnEvents = Callable[[Delivery], object]
#: What to do about events that the callback fails on: see `ReliableReceiver`.
PoisonPolicy = Union[str, int]

R = TypeVar("R", bound="Receiver")


class Receiver(Runner):
    """The common part of `ReliableReceiver` and `LiveReceiver`."""

    _name = "receiver"

    def __init__(
        self,
        stream: EventStream,
        component: str,
        user: str,
        on_events: OnEvents,
        want: Want,
        poison: PoisonPolicy,
        on_notice: OnNotice,
        options: Options | None,
        more: Options,
    ) -> None:
        if not callable(on_events) or inspect.iscoroutinefunction(on_events):
            raise TypeError("on_events must be a function, and no coroutine: it runs on a thread of its own")
        super().__init__(on_notice)
        self._stream = stream  # a stream that is forgotten is closed
        self._on_events = on_events
        names = text(user, "the user"), text(component, "the component")
        with stream._handle as pointer:
            key = c_void_p(self._key)
            arguments = (lib.fes_receiver_open, pointer, *names, c_on_events, key, NO_DESTROY)
            self._handle = Handle.make("receiver", lib.fes_receiver_close, *arguments, rank=RANK_WORKER)
        with self._handle as pointer, _options(options, more) as given:
            call(lib.fes_receiver_set_want, pointer, *types(want))
            call(lib.fes_receiver_set_options, pointer, given)
            call(lib.fes_receiver_set_poison, pointer, *_poison(poison))
        self._hear()
        stream._workers.add(self)

    def stats(self) -> dict[str, int]:
        """Counts since the receiver was made: `delivered`, `skipped`, `overflows` as
        `Subscription.stats`; `failures`: failed callbacks; `given_up`: events given up, up to 1000."""
        numbers = [c_uint64() for _ in range(5)]
        with self._handle as pointer:
            call(lib.fes_receiver_stats, pointer, *map(byref, numbers))
        names = "delivered", "skipped", "overflows", "failures", "given_up"
        return dict(zip(names, (number.value for number in numbers)))

    def _deliver(self, delivery: Delivery) -> None:
        result = self._on_events(delivery)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("on_events returned a coroutine, which nobody awaits")

    def __enter__(self: R) -> R:
        """Starts it; the end of the `with` block stops and closes it."""
        self.start()
        return self


class ReliableReceiver(Receiver):
    """A reliable consumer that is called back: every committed event that it wants, in order, at least once, also
    across restarts of the process and of the server. It registers itself.

    `component`, `user`: as `EventStream.consumer`. `on_events`: called with every delivery, a list of events
    with its number in `seq`, from the receiver's own thread, one at a time. To return acknowledges; after an
    exception the same events come again, with a back-off. It may call everything.
    `want`: the event types, all by default.
    `poison`: what to do about events that the callback fails on. `"retry"`: bring them for ever, so that nothing
    passes unprocessed. `"stop"`: stop at the first failure. A number: after so many failures bring the events
    one by one, and skip one that fails as often alone, with a notice.
    `on_notice`: told how the receiver fares; without it errors are logged.
    `options`, and any keyword: the options of push.

    Raises `InvalidComponent`, `InvalidUser`, `IdentTooLong`, `LiveNotAllowed`, `InvalidType`, `InvalidOption`.
    """

    def __init__(
        self,
        stream: EventStream,
        component: str,
        user: str = "app",
        *,
        on_events: OnEvents,
        want: Want = None,
        poison: PoisonPolicy = "retry",
        on_notice: OnNotice = None,
        options: Options | None = None,
        **more: Option,
    ) -> None:
        if component == "LIVE":
            raise LiveNotAllowed("LIVE is no reliable consumer: use LiveReceiver")
        super().__init__(stream, component, user, on_events, want, poison, on_notice, options, more)


class LiveReceiver(Receiver):
    """A LIVE consumer that is called back with what comes while it runs. When more events wait than the option
    `queue_max`, the oldest are skipped, and `seq` of the deliveries has a gap. Arguments as `ReliableReceiver`."""

    def __init__(
        self,
        stream: EventStream,
        user: str = "app",
        *,
        on_events: OnEvents,
        want: Want = None,
        poison: PoisonPolicy = "retry",
        on_notice: OnNotice = None,
        options: Options | None = None,
        **more: Option,
    ) -> None:
        super().__init__(stream, "LIVE", user, on_events, want, poison, on_notice, options, more)


def _poison(poison: Any) -> tuple[int, int]:
    """A `fes_poison_policy` and its count."""
    if poison == "retry":
        return 0, 0
    if poison == "stop":
        return 1, 0
    if isinstance(poison, int) and 1 <= poison < 2**32:
        return 2, poison
    raise InvalidArgument(f"poison is 'retry', 'stop' or how many failures are enough, not {poison!r}")
