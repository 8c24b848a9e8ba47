// Loses a transaction. Arguments: URL. Needs --expose-gc.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventStream } from 'futoin-eventstream-native';

const stream = await EventStream.open(process.argv[2], { busyTimeoutMs: 20000 });
await stream.migrate();

async function lose() {
    const tx = await stream.begin();
    await tx.addEvent('LOST', 1);
}

const warned = new Promise((resolve) => process.once('warning', resolve));
await lose();
while (!(await Promise.race([warned, sleep(20)]))) {
    globalThis.gc();
}
console.log((await warned).code);
await stream.addEvent('KEPT', 2); // the lock is free again
const audit = stream.consumer('Audit', { user: 'app' });
await audit.register();
assert.deepEqual((await audit.poll()).map((event) => event.type), ['KEPT']);

// What is lost without a sound is closed, too, and a parent stays as long as it is needed.
let lost = await EventStream.open(process.argv[2]);
const live = lost.live();
lost = undefined;
for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await sleep(5);
}
assert.deepEqual(await live.poll(), []);
await stream.close();
