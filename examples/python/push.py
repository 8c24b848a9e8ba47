"""Events as they come: taken from a subscription, or given to a callback."""

import sys
import threading

import futoin_eventstream as fes

received: list[fes.Event] = []
done = threading.Event()


def on_events(events: list[fes.Event]) -> None:
    """Called by the receiver's thread; to return acknowledges."""
    for event in events:
        print(f"receiver: {event.id} {event.type} {event.raw}")
    received.extend(events)
    if len(received) == 2:
        done.set()


url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
with fes.EventStream(url) as stream:
    stream.migrate()
    stream.consumer("Audit", user="app").register()
    stream.add_event("USR_ADD", 1)
    with stream.subscribe("Audit", user="app") as subscription:
        for event in subscription.next(timeout=10) or []:
            print(f"subscription: {event.id} {event.type} {event.raw}")
        subscription.ack()

    with fes.ReliableReceiver(stream, "Mailer", user="app", on_events=on_events):  # registers itself
        stream.add_event("USR_MOD", 1)
        done.wait(10)
