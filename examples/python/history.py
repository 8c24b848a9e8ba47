"""The archiver copies events to the warehouse; a replay reads both as one stream."""

import sys

import futoin_eventstream as fes

url, warehouse_url = (sys.argv[1:3] + ["sqlite::memory:"] * 2)[:2]
with fes.EventStream(url) as stream, fes.Warehouse(warehouse_url) as warehouse:
    stream.migrate()
    warehouse.migrate()
    archiver = fes.Archiver(stream, warehouse)

    stream.add_event("USR_ADD", 1)
    stream.add_event("USR_MOD", 1)
    print("archived", archiver.run_once())  # or archiver.start(), for ever
    for event in warehouse.history(from_id=1):
        print(f"history: {event.id} {event.type} {event.raw}")

    stream.add_event("USR_DEL", 1)
    for event in warehouse.replay(stream):
        print(f"replay: {event.id} {event.type} {event.raw}")
