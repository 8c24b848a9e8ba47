// Subscriptions and receivers.
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LiveReceiver, ReliableReceiver } from 'futoin-eventstream-native';
import { after, database, onEachServer } from './support/db.mjs';
import { audited, fails, ids, next, stream, until } from './support/stream.mjs';

/** A receiver that is closed when the test ends. */
function receiver(t, type, ...args) {
    const made = new type(...args);
    after(t, () => made.close());
    return made;
}

onEachServer('a subscription gives deliveries, each until it is acknowledged', async (t, db) => {
    const { stream } = await audited(t, db);
    const added = await stream.addEvents([['A', 1], ['B', 2], ['A', 3]]);
    const subscription = await stream.subscribe('Audit', { user: 'app', want: ['A'], requestMax: 1 });
    await fails('Occupied', stream.subscribe('Audit', { user: 'app' }));
    const delivery = await subscription.next();
    assert.equal(delivery.seq, 0);
    assert.deepEqual(ids(delivery.events), [added[0], added[2]]);
    assert.equal(await subscription.next({ timeoutMs: 50 }), null); // one is not acknowledged
    await subscription.ack();
    await fails('InvalidArgument', subscription.ack());
    assert.equal(subscription.stats().delivered, 2);
    const waiting = subscription.next();
    const id = await stream.addEvent('A', 4);
    assert.deepEqual(ids((await waiting).events), [id]);
    await subscription.close();
    await subscription.close();
    const again = await stream.subscribe('Audit', { user: 'app' });
    for await (const { events } of again) {
        assert.deepEqual(ids(events), [id]); // it was not acknowledged
        break;
    }
    await again.close();
});

onEachServer('waits for deliveries end by abort, time and close', async (t, db) => {
    const { stream } = await audited(t, db);
    const subscription = await stream.subscribe('Audit', { user: 'app' });
    assert.equal(await subscription.next({ timeoutMs: 20 }), null);
    await fails('TimeoutError', subscription.next({ signal: AbortSignal.timeout(30) }));
    const waiting = subscription.next();
    await sleep(30);
    const closed = subscription.close();
    await fails('Cancelled', waiting);
    await closed;
    await fails('Closed', subscription.next());
});

onEachServer('a receiver registers, and gets everything in order', async (t, db) => {
    const opened = await stream(t, db);
    const first = await opened.addEvents([['A', 1], ['B', 2]]);
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app' });
    const got = [];
    const ready = next(audit, 'ready');
    audit.on('events', (events, { seq }) => {
        assert.equal(typeof seq, 'number');
        got.push(...ids(events));
    });
    await ready;
    const rest = await opened.addEvents([['C', 3], ['D', 4]]);
    await until(() => got.length === 4);
    assert.deepEqual(got, [...first, ...rest]);
    assert.ok(audit.running);
    await audit.start(); // does nothing
    await audit.stop();
    assert.ok(!audit.running);
    assert.equal(audit.stats().delivered, 4);
    assert.equal((await opened.lag()).consumers[0].lastId, rest[1]);
    const later = await opened.addEvent('E', 5);
    await audit.start();
    await until(() => got.length === 5);
    assert.equal(got[4], later);
});

onEachServer('what is about to end is waited for, and begins anew', async (t, db) => {
    const opened = await stream(t, db);
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app' });
    const got = [];
    let go;
    const inside = new Promise((resolve) => {
        audit.on('events', async (events) => {
            got.push(...ids(events));
            resolve();
            await new Promise((done) => (go = done));
        });
    });
    const first = await opened.addEvent('A', 1);
    await inside;
    await fails('Timeout', audit.stop({ timeoutMs: 0 }));
    const again = audit.start();
    go();
    await again;
    assert.ok(audit.running);
    const second = await opened.addEvent('B', 2);
    await until(() => got.includes(second));
    go();
    assert.deepEqual(got, [first, second]);
});

onEachServer('a listener that fails gets the same events again', async (t, db) => {
    const opened = await stream(t, db);
    const id = await opened.addEvent('A', 1);
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app', want: 'A' });
    const calls = [];
    const errors = [];
    audit.on('error', (error) => errors.push(error.message));
    audit.on('events', async (events) => {
        calls.push(ids(events));
        await sleep(5);
        if (calls.length === 1) {
            throw new Error('not yet');
        }
    });
    audit.on('events', () => {
        if (calls.length === 2) {
            throw new Error('nor now');
        }
    });
    await until(() => calls.length === 3);
    await audit.stop();
    assert.deepEqual(calls, [[id], [id], [id]]);
    assert.deepEqual(errors, ['not yet', 'nor now']);
    assert.equal(audit.stats().failures, 2);
    assert.equal((await opened.lag()).consumers[0].lastId, id);
});

onEachServer('a LIVE receiver gets what comes while it runs', async (t, db) => {
    const opened = await stream(t, db);
    await opened.addEvent('OLD', 1);
    const live = receiver(t, LiveReceiver, opened, { user: 'app' });
    const got = [];
    live.on('events', (events) => void got.push(...events));
    await next(live, 'ready');
    await opened.addEvent('NEW', 2);
    await until(() => got.length === 1);
    assert.equal(got[0].type, 'NEW');
    assert.deepEqual((await opened.lag()).consumers, []);
});

test('poison decides about events that fail again and again', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await opened.addEvents([['A', 1], ['A', 2], ['A', 3]]);
    const skipping = receiver(t, ReliableReceiver, opened, 'Skips', { user: 'app', poison: { skipAfter: 2 } });
    const good = [];
    const skipped = [];
    skipping.on('error', () => {});
    skipping.on('notice', (notice) => notice.kind === 'Skipped' && skipped.push(notice));
    skipping.on('events', (events) => {
        if (events.some((event) => event.data === 2)) {
            throw new Error('not 2');
        }
        good.push(...events.map((event) => event.data));
    });
    await until(() => good.includes(3));
    assert.deepEqual(good, [1, 3]);
    assert.deepEqual(skipped.map(({ number, error }) => [number, error.message]), [[2n, 'not 2']]);
    assert.equal(skipping.stats().givenUp, 1);

    const stopping = receiver(t, ReliableReceiver, opened, 'Stops', { user: 'app', poison: 'stop' });
    stopping.on('error', () => {});
    const stopped = new Promise((resolve) => {
        stopping.on('notice', (notice) => notice.kind === 'Stopped' && resolve());
    });
    stopping.once('events', () => Promise.reject(new Error('no')));
    await stopped;
    const again = new Promise((resolve) => stopping.once('events', resolve));
    await stopping.start();
    assert.equal((await again).length, 3);
    await fails('InvalidArgument', () => new ReliableReceiver(opened, 'X', { user: 'app', poison: 'hope' }));
});

onEachServer('a receiver whose consumer is gone stops, or registers again', async (t, db) => {
    const opened = await stream(t, db);
    for (const reregister of [false, true]) {
        const name = reregister ? 'Again' : 'Gone';
        const gone = receiver(t, ReliableReceiver, opened, name, { user: 'app', reregister });
        const [told, got] = [[], []];
        gone.on('error', ({ name }) => told.push(name));
        gone.on('notice', ({ kind, error }) => told.push(error?.code ?? kind));
        gone.on('events', (events) => {
            got.push(...events.map(({ id }) => id));
        });
        const first = await opened.addEvent('A', 1);
        await until(() => got.includes(first));
        assert.ok(await opened.consumer(name, { user: 'app' }).unregister());
        const last = await opened.addEvent('A', 2);
        await until(() => told.includes(reregister ? 'NotRegistered' : 'Stopped'));
        assert.ok(told.includes('NotRegistered'));
        if (reregister) {
            await until(() => got.filter((id) => id === first).length > 1 && got.at(-1) === last);
        }
        await gone.stop();
    }
});

test('a receiver may be stopped, and closed, inside its listener', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await opened.addEvent('A', 1);
    for (const [component, end] of [['Stops', 'stop'], ['Closes', 'close']]) {
        const ending = receiver(t, ReliableReceiver, opened, component, { user: 'app' });
        const stopped = new Promise((resolve) => {
            ending.on('notice', (notice) => notice.kind === 'Stopped' && resolve());
        });
        ending.on('events', async () => {
            await ending[end]();
        });
        await stopped;
        await until(async () => (await opened.lag()).consumers.at(-1).lastId === 1n); // that call counted
    }
});

test('a stop need not wait for a listener that hangs', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await opened.addEvent('A', 1);
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app' });
    let release;
    const called = new Promise((resolve) => {
        audit.on('events', () => {
            resolve();
            return new Promise((resolve) => (release = resolve));
        });
    });
    await called;
    await fails('Timeout', audit.stop({ timeoutMs: 30 }));
    await fails('TimeoutError', audit.stop({ signal: AbortSignal.timeout(30) }));
    release();
    await audit.stop();
    assert.equal((await opened.lag()).consumers[0].lastId, 1n);
});

test('a delivery without a listener waits for one', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await opened.addEvent('A', 1);
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app' });
    await audit.start();
    await sleep(100);
    assert.deepEqual(audit.stats().failures, 0);
    const got = await new Promise((resolve) => audit.once('events', resolve));
    assert.equal(got.length, 1);
    await opened.addEvent('A', 2);
    await sleep(100); // nobody listens any more, so it waits
    await audit.stop();
    const lag = await opened.lag();
    assert.equal(lag.consumers[0].lastId, 1n);
});

test('an error that nobody listens to is a warning, once', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await opened.addEvent('A', 1);
    const warnings = [];
    const listener = (warning) => warnings.push(warning);
    process.on('warning', listener);
    after(t, () => process.off('warning', listener));
    const audit = receiver(t, ReliableReceiver, opened, 'Audit', { user: 'app' });
    let calls = 0;
    audit.on('events', () => {
        calls++;
        throw new Error('out of order');
    });
    await until(() => calls === 3);
    const ours = warnings.filter((warning) => warning.name === 'EventStreamWarning');
    assert.deepEqual(ours.map((warning) => warning.message), ['ReliableReceiver: out of order']);
});

test('a receiver must be set up well', async (t) => {
    const opened = await stream(t, await database(t, 'sqlite'));
    await fails('LiveNotAllowed', () => new ReliableReceiver(opened, 'LIVE', { user: 'app' }));
    await fails('InvalidComponent', () => new ReliableReceiver(opened, 'no good', { user: 'app' }));
    await fails('InvalidType', () => new ReliableReceiver(opened, 'Audit', { user: 'app', want: ['lower'] }));
    await fails('InvalidOption', () => new ReliableReceiver(opened, 'Audit', { user: 'app', colour: 'red' }));
    await fails('InvalidArgument', () => new ReliableReceiver({}, 'Audit', { user: 'app' }));
});
