// Consumers that poll.
import assert from 'node:assert/strict';
import test from 'node:test';
import { EventStream, ReliableReceiver } from 'futoin-eventstream-native';
import { after, onEachServer } from './support/db.mjs';
import { audited, fails, ids, stream, types, until } from './support/stream.mjs';

onEachServer('a poll goes on where it was acknowledged', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await stream.addEvents([['A', 1], ['B', 2], ['C', 3]]);
    assert.deepEqual(ids(await audit.poll({ limit: 2 })), added.slice(0, 2));
    assert.deepEqual(ids(await audit.poll()), added); // nothing was acknowledged
    assert.deepEqual(ids(await audit.poll({ lastId: added[1] })), [added[2]]);
    assert.deepEqual(ids(await audit.poll()), [added[2]]); // by the lastId before
    await audit.acknowledge(added[2]);
    assert.deepEqual(await audit.poll(), []);
    assert.deepEqual((await stream.lag()).consumers.map(({ ident, lastId }) => [ident, lastId]), [['app:Audit', added[2]]]);
    assert.equal(await audit.unregister(), true);
    assert.equal(await audit.unregister(), false);
    await fails('NotRegistered', audit.poll());
});

onEachServer('only wanted types come', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    await stream.addEvents([['USR_ADD'], ['USR_MOD'], ['USR_ADD'], ['USR_DEL']]);
    assert.deepEqual(types(await audit.poll({ want: ['USR_ADD'] })), ['USR_ADD', 'USR_ADD']);
    assert.deepEqual(types(await audit.poll({ want: 'USR_DEL' })), ['USR_DEL']);
    assert.deepEqual(types(await audit.poll({ want: new Set(['USR_MOD', 'USR_DEL']) })), ['USR_MOD', 'USR_DEL']);
    await fails('InvalidType', audit.poll({ want: ['lower'] }));
});

onEachServer('a poll waits, and is woken by an event', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const began = Date.now();
    assert.deepEqual(await audit.poll({ timeoutMs: 200 }), []);
    assert.ok(Date.now() - began >= 195, `${Date.now() - began} ms`);
    const waiting = audit.poll({ timeoutMs: Infinity });
    const id = await stream.addEvent('USR_ADD', 1);
    assert.deepEqual(ids(await waiting), [id]);
});

onEachServer('an aborted wait ends at once with the reason', async (t, db) => {
    const { audit } = await audited(t, db);
    const controller = new AbortController();
    const waiting = audit.poll({ timeoutMs: Infinity, signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    const began = Date.now();
    await fails('AbortError', waiting);
    assert.ok(Date.now() - began < 2000, `${Date.now() - began} ms`);
    const why = new Error('enough');
    await assert.rejects(audit.poll({ signal: AbortSignal.abort(why) }), why);
    await fails('TimeoutError', audit.poll({ timeoutMs: Infinity, signal: AbortSignal.timeout(30) }));
});

onEachServer('iterating acknowledges what the loop is through with', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await stream.addEvents([['A', 1], ['B', 2], ['A', 3], ['A', 4]]);
    const seen = [];
    for await (const event of audit.events({ want: ['A'] })) {
        seen.push(event.data);
        if (event.data === 3) {
            break;
        }
    }
    assert.deepEqual(seen, [1, 3]);
    assert.equal((await stream.lag()).consumers[0].lastId, added[0]);
    assert.deepEqual(ids(await audit.poll()), added.slice(1)); // the one of the break comes again
    await assert.rejects(async () => {
        for await (const event of audit.events()) {
            if (event.data === 4) {
                throw new Error('bad event');
            }
        }
    }, /bad event/);
    assert.deepEqual(ids(await audit.poll()), [added[3]]);
    const controller = new AbortController();
    await fails('AbortError', async () => {
        for await (const event of audit.events({ signal: controller.signal })) {
            assert.equal(event.id, added[3]);
            setTimeout(() => controller.abort(), 20);
        }
    });
    assert.deepEqual(await audit.poll(), []);
});

onEachServer('LIVE gets what comes, and never registers', async (t, db) => {
    const opened = await stream(t, db);
    await opened.addEvent('OLD', 1);
    const live = opened.live({ user: 'app' });
    assert.deepEqual(await live.poll(), []);
    const id = await opened.addEvent('NEW', 2);
    assert.deepEqual(ids(await live.poll({ timeoutMs: 5000 })), [id]);
    await fails('LiveNotAllowed', live.register());
    assert.deepEqual((await opened.lag()).consumers, []);
    setTimeout(() => opened.addEvent('NEWER', 3), 20);
    for await (const event of live.events()) {
        assert.equal(event.type, 'NEWER');
        break;
    }
});

onEachServer('a consumer may begin elsewhere', async (t, db) => {
    const opened = await stream(t, db);
    const added = await opened.addEvents([['A'], ['B'], ['C']]);
    const begun = async (component, start) => {
        const consumer = opened.consumer(component, { user: 'app' });
        await consumer.registerAt(start);
        return ids(await consumer.poll());
    };
    assert.deepEqual(await begun('Beginning', 'beginning'), added);
    assert.deepEqual(await begun('Now', 'now'), []);
    assert.deepEqual(await begun('Id', { id: added[1] }), added.slice(1));
    assert.deepEqual(await begun('Time', { time: new Date(Date.now() - 86400000) }), added);
    await fails('InvalidLastId', begun('Beyond', { id: 1000n }));
    await fails('InvalidArgument', begun('Nonsense', 'yesterday'));
});

test('ids are never rounded', async (t) => {
    const opened = await EventStream.open('sqlite::memory:');
    after(t, () => opened.close());
    await opened.migrate();
    const audit = opened.consumer('Audit', { user: 'app' });
    await audit.register();
    const large = 2n ** 53n + 1n;
    await opened.transaction((tx) =>
        tx.execute("INSERT INTO evt_queue(id, type, data, ts) VALUES (?, 'A', '1', '2026-01-02 03:04:05')", [large]),
    );
    const [event] = await audit.poll();
    assert.equal(event.id, large);
    assert.equal(event.ts.toISOString(), '2026-01-02T03:04:05.000Z');
    assert.deepEqual(await audit.poll({ lastId: large }), []);
    assert.equal((await opened.lag()).consumers[0].lastId, large);
    for (const bad of [2 ** 53, 1.5, -1, NaN, '1', -1n, 2n ** 64n, {}, true]) {
        await fails('InvalidArgument', audit.poll({ lastId: bad }));
        await fails('InvalidArgument', audit.acknowledge(bad));
    }
    await fails('InvalidLastId', audit.poll({ lastId: 10n ** 18n }));
    await fails('InvalidLastId', audit.acknowledge(large + 1n)); // never allocated
});

test('wrong arguments are refused before the database is asked', async (t) => {
    const opened = await EventStream.open('sqlite::memory:');
    after(t, () => opened.close());
    const audit = opened.consumer('Audit', { user: 'app' });
    for (const timeoutMs of [-1, NaN, '5', 5n]) {
        await fails('InvalidArgument', audit.poll({ timeoutMs }));
    }
    for (const limit of [0, -1, 1.5, '5', 2 ** 32]) {
        await fails('InvalidArgument', audit.poll({ limit }));
    }
    await fails('InvalidArgument', audit.poll({ want: 5 }));
    await fails('InvalidComponent', () => opened.consumer('no good', { user: 'app' }));
    await fails('InvalidComponent', () => opened.consumer(undefined));
    await fails('InvalidUser', () => opened.consumer('Audit', { user: 'a:b' }));
    await fails('IdentTooLong', () => opened.consumer('Audit', { user: 'u'.repeat(64) }));
    await fails('NotMigrated', audit.register());
});

test('a stream that was rewound is told once', async (t) => {
    const opened = await EventStream.open('sqlite::memory:');
    after(t, () => opened.close());
    await opened.migrate();
    const audit = opened.consumer('Audit', { user: 'app' });
    await audit.register();
    const id = await opened.addEvent('A', 1);
    // As after a restore of the events only.
    await opened.transaction((tx) => tx.execute('UPDATE evt_consumers SET last_evt_id = 1000'));
    const error = await fails('StreamRewound', audit.poll());
    assert.match(error.message, /1000/);
    const [event] = await audit.poll();
    assert.equal(event.id, id);
});

// Rows that are no events: of no time, and of no JSON.
const UNREADABLE = {
    sqlite: ["('B', '1', 'yesterday')", "('C', '{', datetime('now'))"],
    postgres: ["('B', '1', 'infinity')", "('C', '{', now())"],
    mysql: ["('B', '1', '0000-00-00 00:00:00')", "('C', '{', UTC_TIMESTAMP())"],
};
const SOFTEN = { postgres: 'ALTER TABLE evt_queue ALTER data TYPE text', mysql: "SET SESSION sql_mode = ''" };

/** Adds an event, two rows that are none, and an event; gives the ids. */
async function spoiled(stream) {
    const first = await stream.addEvent('A', 1);
    const tx = await stream.begin();
    if (SOFTEN[stream.kind]) {
        await tx.execute(SOFTEN[stream.kind]);
    }
    for (const row of UNREADABLE[stream.kind]) {
        await tx.execute(`INSERT INTO evt_queue(type, data, ts) VALUES ${row}`);
    }
    await tx.commit();
    return [first, first + 1n, first + 2n, await stream.addEvent('D', 1)];
}

const row = ({ unreadable: { id, column, type, data } }) => [id, column, String(type), String(data)];

onEachServer('good events before an unreadable one come first, and it can be passed over', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await spoiled(stream);
    assert.deepEqual(ids(await audit.poll()), added.slice(0, 1));
    assert.deepEqual(row(await fails('CorruptEvent', audit.poll({ lastId: added[0] }))), [added[1], 'ts', 'B', '1']);
    for (const other of [added[0], added[2], added[3]]) {
        await fails('InvalidArgument', audit.skip(other));
    }
    await audit.skip(added[1]);
    const subscription = await stream.subscribe('Audit', { user: 'app' });
    after(t, () => subscription.close());
    assert.deepEqual(row(await fails('CorruptEvent', subscription.next({ timeoutMs: 20000 }))), [added[2], 'data', 'C', '{']);
    await fails('InvalidArgument', subscription.skip(added[3]));
    await subscription.skip(added[2]);
    assert.deepEqual(ids((await subscription.next()).events), added.slice(3));
});

onEachServer('a receiver passes over what cannot be read as its policy says', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await spoiled(stream);
    const receiver = new ReliableReceiver(stream, 'Audit', { user: 'app', poison: { skipAfter: 1 } });
    after(t, () => receiver.close());
    const got = [];
    const skipped = [];
    receiver.on('notice', ({ kind, number }) => kind === 'Skipped' && skipped.push(number));
    receiver.on('error', () => {});
    receiver.on('events', (events) => got.push(...ids(events)));
    await until(() => got.length === 2);
    assert.deepEqual(got, [added[0], added[3]]);
    assert.deepEqual(skipped, added.slice(1, 3));
    await receiver.stop();
    assert.deepEqual(await audit.poll(), []);
});
