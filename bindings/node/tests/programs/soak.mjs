// Does everything for some seconds, and prints how memory, threads and files grew in the second half.
// Arguments: URL SECONDS. Needs --expose-gc.
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Archiver, Discarder, EventStream, ReliableReceiver, Warehouse } from 'futoin-eventstream-native';

const [, , url, seconds] = process.argv;
const begun = Date.now();
const end = begun + Number(seconds) * 1000;
const stream = await EventStream.open(url, { busyTimeoutMs: 30000 });
await stream.migrate();
const warehouse = await Warehouse.open('sqlite::memory:');
await warehouse.migrate();
const audit = stream.consumer('Audit', { user: 'app' });
await audit.register();
const archiver = new Archiver(stream, warehouse);
const discarder = new Discarder(stream, { pollPeriodMs: 50 });
await discarder.start();
let pushed = 0;
const receiver = new ReliableReceiver(stream, 'Pushed', { user: 'app' });
receiver.on('events', async (events) => {
    pushed += events.length;
});

let rounds = 0;
let added = 0;
let polled = 0;
async function round() {
    await stream.addEvents(Array.from({ length: 200 }, (_, i) => ['SOAK', { i, text: 'x'.repeat(200) }]));
    await stream.transaction((tx) => tx.addEvent('SOAK', rounds));
    await stream.transaction(() => Promise.reject(new Error('no'))).catch(() => {});
    added += 201;
    const events = await audit.poll({ limit: 1000 });
    polled += events.length;
    await audit.acknowledge(events.at(-1).id);
    await audit.poll({ timeoutMs: 1, signal: AbortSignal.timeout(1000) });
    await stream.addEvent('lower').catch(() => {});
    if (rounds % 10 === 0) {
        const another = await EventStream.open(url);
        const live = await another.subscribe('LIVE');
        await live.next({ timeoutMs: 1 });
        await live.close();
        await another.close();
    }
    rounds++;
}

/** The smallest of several looks: garbage comes and goes. */
async function look() {
    const looks = [];
    for (let i = 0; i < 5; i++) {
        await round();
        globalThis.gc();
        await sleep(10);
        const { rss, heapUsed } = process.memoryUsage();
        const [threads, files] = ['task', 'fd'].map((name) => readdirSync(`/proc/self/${name}`).length);
        looks.push({ rss, heapUsed, threads, files });
    }
    const least = (name) => Math.min(...looks.map((look) => look[name]));
    return { rss: least('rss'), heapUsed: least('heapUsed'), threads: least('threads'), files: least('files') };
}

while (Date.now() < begun + (end - begun) / 2) {
    await round();
}
const before = await look();
while (Date.now() < end) {
    await round();
}
const after = await look();
while (pushed < added) {
    await sleep(10);
}
const growth = Object.fromEntries(Object.keys(before).map((name) => [name, after[name] - before[name]]));
console.log(JSON.stringify({ rounds, added, polled, pushed, rss: after.rss, growth }));
await receiver.close();
await Promise.all([discarder.close(), archiver.close()]);
await stream.close();
await warehouse.close();
