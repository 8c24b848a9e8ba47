"""The discarder deletes what every consumer has acknowledged, and nothing else."""

import sys

import futoin_eventstream as fes

url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
with fes.EventStream(url) as stream:
    stream.migrate()
    audit = stream.consumer("Audit", user="app")
    audit.register()
    discarder = fes.Discarder(stream, limit_at_once=1000)

    ids = [stream.add_event("USR_ADD", n) for n in (1, 2, 3)]
    print("discarded", discarder.run_once())  # or discarder.start(), for ever
    audit.acknowledge(ids[1])
    print("discarded", discarder.run_once())
    for event in audit.poll():
        print(f"left: {event.id} {event.type} {event.raw}")
