"""Polls a whole stream from Python, as fast as it goes, and touches the data of every event.

    python benches/python_poll.py URL COMPONENT CHUNK

The consumer `app:COMPONENT` is registered if it is not (`LIVE` begins with the first event). Prints one line of JSON:
`{"events": 1000000, "seconds": 1.5}`.
"""

import json
import sys
import time

import futoin_eventstream as fes


def main() -> None:
    url, component, chunk = sys.argv[1:]
    with fes.EventStream(url) as stream:
        consumer = stream.consumer(component)
        if not consumer.is_live:
            consumer.register()
        count, last_id, limit = 0, 0 if consumer.is_live else None, int(chunk)
        start = time.perf_counter()
        while events := consumer.poll(last_id, limit=limit):
            for event in events:
                event.data
            count += len(events)
            last_id = events[-1].id
        print(json.dumps({"events": count, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
