"""All together: the service app archives and discards, while a transaction adds and a consumer reads."""

import sys
import threading

import futoin_eventstream as fes

archived = 0
done = threading.Event()


def on_notice(notice: fes.Notice) -> None:
    """Called by the threads of the app."""
    global archived
    if notice.kind == fes.NoticeKind.PROCESSED_EVENTS:
        archived += notice.number
        if archived == 2:
            done.set()
    if notice.error:
        print(notice.error, file=sys.stderr)


url, warehouse_url = (sys.argv[1:3] + ["sqlite::memory:"] * 2)[:2]
with fes.ServiceApp(url, warehouse_url, enable_discarder=True, on_notice=on_notice) as app:
    app.migrate()
    app.start()

    audit = app.stream.consumer("Audit", user="app")
    audit.register()
    with app.stream.begin() as tx:
        tx.add_event("USR_ADD", {"name": "Ann"})
        tx.add_event("USR_MOD", {"name": "Ann"})

    for event in audit.events(timeout=10):
        print(f"audit: {event.id} {event.type} {event.raw}")
        if event.type == "USR_MOD":
            break
    done.wait(10)
    print("archived", archived)
