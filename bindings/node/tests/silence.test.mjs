// A server that goes silent: calls end in their time, waits by their signal, and what is closed does not hang.
import assert from 'node:assert/strict';
import net from 'node:net';
import { EventStream, ReliableReceiver, Warehouse } from 'futoin-eventstream-native';
import { after, onEachServer, SERVERS } from './support/db.mjs';
import { audited, fails, ids, next, until } from './support/stream.mjs';

// Whatever takes so long would take as long as `callTimeoutMs`.
const LATE = 15000;
const PATIENT = { callTimeoutMs: 60000, connectTimeoutMs: 60000 };
const HASTY = { callTimeoutMs: 1000, connectTimeoutMs: 1000 };

/** A proxy that forwards until `silent` is set; a connection that lost something stays silent. */
async function proxy(t, url) {
    const target = new URL(url);
    const sockets = new Set();
    const state = { silent: false };
    const server = net.createServer((client) => {
        const upstream = net.connect(Number(target.port), target.hostname);
        let deaf = false;
        for (const [from, to] of [[client, upstream], [upstream, client]]) {
            sockets.add(from);
            from.on('data', (data) => {
                deaf ||= state.silent;
                if (!deaf) {
                    to.write(data);
                }
            });
            from.on('error', () => {});
            from.on('close', () => to.destroy());
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    after(t, () => {
        sockets.forEach((socket) => socket.destroy());
        server.close();
    });
    const behind = new URL(url);
    behind.hostname = '127.0.0.1';
    behind.port = String(server.address().port);
    return Object.assign(state, { url: behind.href });
}

/** Asserts that it ends after `least` ms, and soon. */
async function soon(promise, least = 0) {
    const began = Date.now();
    try {
        return await promise;
    } finally {
        const took = Date.now() - began;
        assert.ok(took >= least - 20 && took < LATE, `${took} ms`);
    }
}

const SILENT = SERVERS.filter((server) => server !== 'sqlite');

onEachServer(
    'calls on a silent server end in their time, and work again when it is healed',
    async (t, db) => {
        const { audit: direct } = await audited(t, db);
        const path = await proxy(t, db.url);
        const stream = await EventStream.open(path.url, HASTY);
        after(t, () => stream.close());
        const audit = stream.consumer('Audit', { user: 'app' });
        await stream.addEvent('A', 1);
        path.silent = true;
        const failed = await soon(stream.addEvent('A', 2).catch((error) => error));
        assert.ok(failed.retriable, String(failed));
        await soon(assert.rejects(audit.poll(), (error) => error.retriable));
        path.silent = false;
        await until(() => audit.poll().then((events) => events.length > 0, () => false));
        const id = await stream.addEvent('A', 3);
        assert.ok(ids(await direct.poll()).includes(id));
    },
    SILENT,
);

onEachServer(
    'a signal, a time and close end what hangs on a silent server',
    async (t, db) => {
        const { stream: direct } = await audited(t, db);
        await direct.addEvent('A', 1);
        const path = await proxy(t, db.url);
        const stream = await EventStream.open(path.url, PATIENT);
        const warehouse = await Warehouse.open(path.url, PATIENT);
        await warehouse.migrate();
        const audit = stream.consumer('Audit', { user: 'app' });
        const subscription = await stream.subscribe('Audit');
        path.silent = true;
        assert.equal(await soon(subscription.next({ timeoutMs: 300 }), 300), null);
        for (const wait of [(options) => audit.poll(options), (options) => subscription.next(options)]) {
            const controller = new AbortController();
            const waiting = wait({ timeoutMs: Infinity, signal: controller.signal });
            setTimeout(() => controller.abort(), 300);
            await soon(fails('AbortError', waiting));
        }
        const hung = [stream.addEvent('A', 2), stream.lag(), warehouse.history()];
        const ended = Promise.allSettled(hung);
        await new Promise((resolve) => setTimeout(resolve, 300));
        await soon(stream.close());
        await soon(warehouse.close());
        for (const { status, reason } of await soon(ended)) {
            assert.equal(status, 'rejected');
            assert.ok(['Timeout', 'ConnectionLost', 'Closed'].includes(reason.kind), String(reason));
        }
    },
    SILENT,
);

onEachServer(
    'a receiver on a silent server is stopped in its time',
    async (t, db) => {
        await audited(t, db);
        const path = await proxy(t, db.url);
        const stream = await EventStream.open(path.url, PATIENT);
        after(t, () => stream.close());
        const receiver = new ReliableReceiver(stream, 'Pushed', { user: 'app' });
        after(t, () => receiver.close());
        const ready = next(receiver, 'ready');
        receiver.on('error', () => {});
        receiver.on('events', () => {});
        await ready;
        path.silent = true;
        await new Promise((resolve) => setTimeout(resolve, 300));
        // On a busy machine the thread may need another moment after it was cut off.
        await soon(receiver.stop({ timeoutMs: 500 }).catch((error) => assert.equal(error.kind, 'Timeout')));
        await soon(receiver.stop());
    },
    SILENT,
);
