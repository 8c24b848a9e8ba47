// Warehouse, archiver, discarder, replay, service app.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Archiver, Discarder, ServiceApp, Warehouse } from 'futoin-eventstream-native';
import { after, database, onEachServer } from './support/db.mjs';
import { audited, fails, ids, stream, types, until } from './support/stream.mjs';

async function warehouse(t, db) {
    const opened = await Warehouse.open(db.dwh);
    after(t, () => opened.close());
    await opened.migrate();
    return opened;
}

onEachServer('a healthy stream has no failure, and a missing table is one', async (t, db) => {
    const opened = await stream(t, db);
    const dwh = await warehouse(t, db);
    const checks = await opened.doctor({ warehouse: dwh, roles: ['consumer'] });
    assert.deepEqual(checks.filter(({ status }) => status === 'failure'), []);
    assert.equal(checks.find(({ name }) => name === 'role_consumer').status, 'ok');
    const empty = await Warehouse.open('sqlite::memory:');
    after(t, () => empty.close());
    const failed = (await opened.doctor({ warehouse: empty })).filter(({ status }) => status === 'failure');
    assert.deepEqual(failed.map(({ name }) => name), ['warehouse']);
    await fails('InvalidArgument', opened.doctor({ roles: ['nobody'] }));
});

onEachServer('every id is accounted for, and what is wrong is found', async (t, db) => {
    const opened = await stream(t, db);
    const dwh = await warehouse(t, db);
    const added = await opened.addEvents([['A', 1], ['B', 2], ['A', 3]]);
    const archiver = new Archiver(opened, dwh);
    after(t, () => archiver.close());
    await archiver.runOnce();
    const sound = await opened.verify({ warehouse: dwh });
    assert.deepEqual([sound.complete, sound.inBoth, sound.findings], [true, 3, []]);
    assert.equal(sound.highestId, added[2]);
    const part = await opened.verify({ fromId: added[1], toId: added[1], timeoutMs: 20000 });
    assert.deepEqual([part.first, part.last, part.inQueue], [added[1], added[1], 1]);

    const empty = await Warehouse.open('sqlite::memory:');
    after(t, () => empty.close());
    await empty.migrate();
    const { findings } = await opened.verify({ warehouse: empty, examples: 1 });
    assert.deepEqual(findings.map(({ kind, count }) => [kind, count]), [['not_archived', 3], ['history_short', 1]]);
    assert.deepEqual(findings[0].examples.map(({ id }) => id), [added[0]]);
    await fails('AbortError', opened.verify({ signal: AbortSignal.abort() }));
    await fails('InvalidArgument', opened.verify({ fromId: -1 }));
});

onEachServer('events are archived, read, and replayed with the active ones', async (t, db) => {
    const opened = await stream(t, db);
    const dwh = await warehouse(t, db);
    const added = await opened.addEvents([['A', 1], ['B', { x: 'ü' }], ['A', 3]]);
    const archiver = new Archiver(opened, dwh, { archiveBatch: 2 });
    after(t, () => archiver.close());
    assert.equal(await archiver.runOnce(), 3);
    assert.equal(await archiver.runOnce(), 0);
    const history = await dwh.history();
    assert.deepEqual(ids(history), added);
    assert.deepEqual(history[1].data, { x: 'ü' });
    assert.deepEqual(ids(await dwh.history(added[1], undefined, 1)), [added[1]]); // inclusive
    assert.deepEqual(ids(await dwh.history(added[1], ['A'])), [added[2]]);
    const last = await opened.addEvent('A', 4);
    const replay = dwh.replay(opened, { fromId: added[1], want: ['A'] });
    const replayed = [];
    for await (const event of replay) {
        replayed.push(event.id);
    }
    assert.deepEqual(replayed, [added[2], last]);
    assert.equal(replay.position, last);
    assert.deepEqual(await replay.next(10, { timeoutMs: 20 }), []);
    await fails('TimeoutError', replay.next(10, { timeoutMs: Infinity, signal: AbortSignal.timeout(20) }));
    const waiting = replay.next(10, { timeoutMs: 20000 });
    const newest = await opened.addEvent('A', 5);
    assert.deepEqual(ids(await waiting), [newest]);
    await replay.close();
    assert.deepEqual(await archiver.runFor({ timeoutMs: Infinity }), { count: 2, complete: true });
    await fails('AbortError', archiver.runFor({ signal: AbortSignal.abort() }));
});

onEachServer('the discarder deletes what everybody has acknowledged', async (t, db) => {
    const { stream, audit } = await audited(t, db);
    const added = await stream.addEvents([['A'], ['B'], ['C']]);
    const discarder = new Discarder(stream, { limitAtOnce: 10 });
    after(t, () => discarder.close());
    const notices = [];
    discarder.on('notice', (notice) => notices.push(notice));
    assert.equal(await discarder.runOnce(), 0);
    await audit.acknowledge(added[1]);
    assert.equal(await discarder.runOnce(), 2);
    assert.deepEqual(types(await audit.poll()), ['C']);
    assert.ok(notices.some(({ kind, number }) => kind === 'Discarded' && number === 2), JSON.stringify(notices));
});

onEachServer('a limit of 0 events is refused', async (t, db) => {
    const opened = await stream(t, db);
    const dwh = await warehouse(t, db);
    await fails('InvalidArgument', dwh.history(1n, undefined, 0));
    const replay = dwh.replay(opened);
    after(t, () => replay.close());
    await fails('InvalidArgument', replay.next(0));
});

onEachServer('archiver and discarder work by themselves until they are stopped', async (t, db) => {
    const opened = await stream(t, db);
    const dwh = await warehouse(t, db);
    const archiver = new Archiver(opened, dwh);
    const discarder = new Discarder(opened, { poll_period_ms: 20 });
    after(t, () => Promise.all([archiver.close(), discarder.close()]));
    let discarded = 0;
    discarder.on('notice', ({ kind, number }) => (discarded += kind === 'Discarded' ? number : 0));
    await Promise.all([archiver.start(), discarder.start()]);
    await Promise.all([archiver.start(), discarder.start()]); // does nothing
    assert.ok(archiver.running && discarder.running);
    await opened.addEvents([['A', 1], ['B', 2]]);
    await until(() => discarded === 1); // the event with the highest id stays
    await Promise.all([archiver.stop(), discarder.stop()]);
    assert.ok(!archiver.running && !discarder.running);
    await opened.addEvent('C', 3);
    assert.deepEqual(types(await dwh.history()), ['A', 'B']);
    await archiver.start(); // again
    await until(async () => (await dwh.history()).length === 3);
});

onEachServer('an archiver that is about to end begins anew', async (t, db) => {
    const opened = await stream(t, db);
    await opened.addEvent('A', 1);
    const archiver = new Archiver(opened, await warehouse(t, db));
    after(t, () => archiver.close());
    const notices = [];
    archiver.on('notice', ({ kind }) => notices.push(kind));
    await archiver.start();
    await Promise.all([archiver.stop({ timeoutMs: 0 }).catch(() => {}), archiver.start()]);
    await archiver.start();
    assert.ok(archiver.running);
    await until(() => notices.includes('ProcessedEvents'));
});

test('the service app does it all from one configuration', async (t) => {
    const db = await database(t, 'sqlite');
    const app = await ServiceApp.open(db.url, db.dwh, { enableDiscarder: true, pollPeriodMs: 20 });
    await app.migrate();
    const notices = [];
    app.on('notice', (notice) => notices.push(notice.kind));
    await app.start();
    await app.start(); // does nothing
    await app.stream.addEvents([['A', 1], ['B', 2]]);
    await until(() => notices.includes('Discarded'));
    assert.deepEqual(types(await app.warehouse.history()), ['A', 'B']);
    assert.equal(app.warehouse.kind, 'sqlite');
    await app.stop({ timeoutMs: 5000 });
    await app.stream.addEvent('C', 3);
    await app.start(); // again
    await until(async () => (await app.warehouse.history()).length === 3);
    await app.close();
    await fails('Closed', app.stream.addEvent('C', 3));

    const without = await ServiceApp.open(db.url);
    await fails('InvalidArgument', () => without.warehouse);
    await without.close();
});

test('what the archiver meets, it tells', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    const dwh = await Warehouse.open('sqlite::memory:'); // not migrated
    after(t, () => dwh.close());
    const archiver = new Archiver(opened, dwh);
    after(t, () => archiver.close());
    await opened.addEvent('A', 1);
    await fails('NotMigrated', archiver.runOnce());
    const error = new Promise((resolve) => archiver.on('error', resolve));
    await archiver.start();
    assert.equal((await error).kind, 'NotMigrated');
    await fails('InvalidArgument', () => new Archiver(opened, {}));
    await fails('InvalidOption', () => new Discarder(opened, { limit_at_once: 'many' }));
    await fails('NotMigrated', dwh.history());
});
