"""Two consumers poll what they want, and acknowledge."""

import sys

import futoin_eventstream as fes


def drain(consumer: fes.Consumer, who: str, want: fes.Want = None) -> None:
    while events := consumer.poll(want=want):
        for event in events:
            print(f"{who}: {event.id} {event.type} {event.raw}")
        consumer.acknowledge(events[-1].id)


url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
with fes.EventStream(url) as stream:
    stream.migrate()
    audit, mailer = stream.consumer("Audit", user="app"), stream.consumer("Mailer", user="app")
    audit.register()
    mailer.register()

    stream.add_event("USR_ADD", 1)
    stream.add_event("USR_MOD", 1)
    drain(audit, "audit")
    drain(mailer, "mailer", ["USR_ADD"])
    stream.add_event("USR_ADD", 2)
    drain(audit, "audit")
    drain(mailer, "mailer", ["USR_ADD"])
