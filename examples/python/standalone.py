"""Events of their own: each is durable when the call returns."""

import sys

import futoin_eventstream as fes

url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
with fes.EventStream(url) as stream:
    stream.migrate()
    print("added", stream.add_event("USR_ADD", {"name": "Ann"}))

    # Many at once: all or none.
    ids = stream.add_events([("USR_MOD", {"id": 1}), ("USR_DEL",)])
    print("added", ids[0], "and", ids[1])

    # Text that is no event type is refused.
    try:
        stream.add_event("lower case")
    except fes.Error as error:
        print("refused:", error.name)
