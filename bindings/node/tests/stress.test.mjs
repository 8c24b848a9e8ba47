// Overlapping writers against consumers of this binding: nothing lost, repeated or out of order.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReliableReceiver } from 'futoin-eventstream-native';
import { after, onEachServer } from './support/db.mjs';
import { fails, stream } from './support/stream.mjs';
import { Ledger, Truth, write } from './support/stress.mjs';

const SEED = Number(process.env.FES_STRESS_SEED ?? Math.floor(Math.random() * 2 ** 32));
const SECONDS = Number(process.env.FES_STRESS_SECONDS ?? 3);
const WRITERS = 10;
const WANT = ['STRESS_B'];

/** Gives `begin` for a writer: the raw driver on servers, this library's transactions on SQLite. */
async function beginner(t, db, opened) {
    if (db.server === 'sqlite') {
        return async () => {
            const tx = await opened.begin();
            return { add: (type, data) => tx.addEvent(type, data), commit: () => tx.commit(), rollback: () => tx.rollback() };
        };
    }
    const raw = await db.raw();
    after(t, () => raw.close());
    const add = (type, data) => {
        const { sql, params } = opened.statement(type, data);
        return raw.run(sql, params);
    };
    const end = (how) => async () => {
        await raw.query(how);
    };
    return async () => {
        await raw.query('BEGIN');
        return { add, commit: end('COMMIT'), rollback: end('ROLLBACK') };
    };
}

/** Polls until everything is there, or nothing has come for 5 s after the writers' end. */
async function poller(consumer, want, truth, done) {
    const ledger = new Ledger();
    let lastId;
    let fresh = Date.now();
    while (!(done() && (ledger.keys.length >= truth.count(want) || Date.now() - fresh > 5000))) {
        const events = await consumer.poll({ lastId, want, timeoutMs: 100 });
        if (events.length > 0) {
            ledger.note(events);
            lastId = events.at(-1).id;
            fresh = Date.now();
        }
        if (!done()) {
            fresh = Date.now();
        }
    }
    return ledger;
}

/** What everybody writes first: `id > cursor`. It must lose events here, or the stress is none. */
async function naive(t, db, truth, done) {
    const ledger = new Ledger();
    const raw = await db.raw();
    after(t, () => raw.close());
    for (let cursor = '0'; !done() || Date.now() < done() + 300; await sleep(3)) {
        const rows = await raw.run(`SELECT id, data FROM evt_queue WHERE id > ${cursor} ORDER BY id`);
        const parse = ({ id, data }) => ({ id: BigInt(id), data: typeof data === 'string' ? JSON.parse(data) : data });
        ledger.note(rows.map(parse));
        cursor = rows.at(-1)?.id ?? cursor;
    }
    return ledger.report(truth).lost;
}

onEachServer('no event of overlapping writers is lost, repeated or out of order', async (t, db) => {
    console.log(`# seed ${SEED}, ${SECONDS} s: FES_STRESS_SEED, FES_STRESS_SECONDS`);
    const opened = await stream(t, db, { busyTimeoutMs: 30000, maxConnections: 20 });
    const consumers = ['All', 'Some'].map((component) => opened.consumer(component, { user: 'app' }));
    await Promise.all(consumers.map((consumer) => consumer.register()));
    await fails('NotRegistered', opened.consumer('Nobody', { user: 'app' }).poll());

    const truth = new Truth();
    let written = 0; // when
    const pushed = new Ledger();
    const receiver = new ReliableReceiver(opened, 'Pushed', { user: 'app' });
    after(t, () => receiver.close());
    receiver.on('events', (events) => pushed.note(events));

    const end = Date.now() + SECONDS * 1000;
    const writers = Array.from({ length: WRITERS }, async (_, number) =>
        write(number, SEED, end, await beginner(t, db, opened), truth),
    );
    const polling = [poller(consumers[0], undefined, truth, () => written), poller(consumers[1], WANT, truth, () => written)];
    const losing = db.raw && naive(t, db, truth, () => written);
    await Promise.all(writers);
    written = Date.now();
    const [all, some] = await Promise.all(polling);
    for (const patience = Date.now() + 10000; pushed.keys.length < truth.count() && Date.now() < patience; ) {
        await sleep(10);
    }
    const counts = `${truth.committed.size} committed, ${truth.rolledBack} rolled back, ${truth.refused} refused`;
    console.log(`# ${db.server}: ${counts}; polled ${all.keys.length} and ${some.keys.length}, pushed ${pushed.keys.length}`);
    assert.ok(truth.committed.size > 20 && truth.rolledBack > 0, counts);
    const clean = { lost: 0, duplicated: 0, outOfOrder: 0, phantom: 0 };
    assert.deepEqual(all.report(truth), clean, 'polled');
    assert.deepEqual(some.report(truth, WANT), clean, 'polled with a filter');
    assert.deepEqual(pushed.report(truth), clean, 'pushed');
    assert.equal(some.keys.length, truth.count(WANT));
    if (losing) {
        const lost = await losing;
        console.log(`# a naive reader lost ${lost}`);
        assert.ok(lost > 0, 'a naive reader must lose events here');
    }
});
