// Polls everything that a consumer has not acknowledged, and prints how fast that was.
//
//   node benches/node_poll.mjs URL COMPONENT CHUNK
//
// The consumer `bench:COMPONENT` is registered if it is not. Prints {"events": N, "seconds": s}.
import { createRequire } from 'node:module';

const { EventStream } = createRequire(import.meta.url)('../bindings/node');

const [, , url, component, chunk] = process.argv;
const stream = await EventStream.open(url);
const consumer = stream.consumer(component, { user: 'bench' });
await consumer.register();

let count = 0;
let touched = 0;
let lastId;
const began = process.hrtime.bigint();
for (;;) {
    const events = await consumer.poll({ lastId, limit: Number(chunk) });
    if (events.length === 0) {
        break;
    }
    for (const { data } of events) {
        touched += data === null ? 0 : 1; // it is parsed
    }
    count += events.length;
    lastId = events[events.length - 1].id;
}
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
if (touched > count) {
    throw new Error('impossible');
}
console.log(JSON.stringify({ events: count, seconds }));
await stream.close();
