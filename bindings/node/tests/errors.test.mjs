// Errors, the trap of two SQLite libraries, the log.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Discarder, EventStream, EventStreamError, ServiceApp, Warehouse, setLog } from 'futoin-eventstream-native';
import { after, database } from './support/db.mjs';
import { fails, program, stream, until } from './support/stream.mjs';

test('an error tells its kind, code, and whether to try again', async () => {
    const error = await fails('InvalidUrl', EventStream.open('oracle://x'));
    assert.ok(error instanceof EventStreamError && error instanceof Error);
    assert.deepEqual([error.name, error.kind, error.code, error.retriable], ['InvalidUrl', 'InvalidUrl', 9, false]);
    assert.match(error.stack, /^InvalidUrl: [^]*errors\.test\.mjs/, 'the stack leads to the caller');
    const own = new EventStreamError('Busy', 'for a test', { sqlState: '5' });
    assert.deepEqual([own.code, own.retriable, own.message, own.sqlState], [32, true, 'for a test', '5']);
    assert.throws(() => new EventStreamError('Nonsense', ''), TypeError);
    await fails('InvalidUrl', EventStream.open(5));
    await fails('InvalidOption', EventStream.open('sqlite::memory:', { colour: 'red' }));
    await fails('InvalidOption', EventStream.open('sqlite::memory:', { maxConnections: {} }));
    await fails('InvalidOption', EventStream.open('sqlite::memory:', 5));
    await fails('InvalidUrl', Warehouse.open('sqlite:\0'));
    await fails('InvalidUrl', ServiceApp.open('sqlite::memory:', 'oracle://x'));
});

test('no message holds the password', async (t) => {
    const server = createServer((socket) => socket.end('nonsense')).listen(0, '127.0.0.1');
    after(t, () => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const messages = [];
    setLog((level, message) => messages.push(message), 'trace');
    after(t, () => setLog(null));
    for (const scheme of ['postgres', 'mysql']) {
        const url = `${scheme}://user:hunter2@127.0.0.1:${server.address().port}/db`;
        const error = await EventStream.open(url, { connectTimeoutMs: 300 }).catch((error) => error);
        assert.ok(error instanceof EventStreamError && error.retriable, String(error));
        messages.push(error.message, error.stack, JSON.stringify(error));
    }
    assert.ok(!messages.some((message) => message.includes('hunter2')), messages.join('\n'));
});

test('the log comes on the event loop, and ends when it is told to', async (t) => {
    const db = await database(t, 'sqlite');
    const opened = await EventStream.open(db.url); // without tables
    after(t, () => opened.close());
    const messages = [];
    after(t, () => setLog(null));
    const fail = async (condition) => {
        const discarder = new Discarder(opened, { pollPeriodMs: 10 });
        discarder.on('error', () => {});
        await discarder.start();
        await until(condition);
        await discarder.close();
    };
    setLog((level, message) => messages.push([level, message]), 'warn');
    await fail(() => messages.length > 0);
    assert.equal(messages[0][0], 'warn');
    assert.match(messages[0][1], /migrate/);
    setLog(null);
    const count = messages.length;
    let failed = false;
    setTimeout(() => (failed = true), 200);
    await fail(() => failed);
    assert.equal(messages.length, count);
    await fails('InvalidArgument', () => setLog(5));
    await fails('InvalidArgument', () => setLog(() => {}, 'loud'));
});

test('a file that somebody else in this process has open is refused', async (t) => {
    const db = await database(t, 'sqlite');
    await stream(t, db).then((opened) => opened.close());
    const file = fs.openSync(db.file, 'r+');
    const error = await fails('ForeignSqlite', EventStream.open(db.url));
    assert.equal(error.retriable, false);
    fs.closeSync(file);
    await EventStream.open(db.url).then((opened) => opened.close());
});

test('another SQLite library in this process is refused, and may add events by a statement', async (t) => {
    const db = await database(t, 'sqlite');
    await stream(t, db).then((opened) => opened.close());
    const result = await program('foreign.mjs', [db.url, db.file, path.dirname(db.file)]);
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stdout, 'refused: ForeignSqlite\nadded by the other library\n');
});

test('the environment opens stream, warehouse and app', async (t) => {
    const db = await database(t, 'sqlite');
    const script = `
        const { EventStream, ServiceApp, Warehouse } = require('futoin-eventstream-native');
        (async () => {
            const stream = await EventStream.fromEnv({ maxConnections: 3 });
            const warehouse = await Warehouse.fromEnv();
            await stream.migrate();
            await warehouse.migrate();
            await Promise.all([stream.close(), warehouse.close()]);
            const app = await ServiceApp.fromEnv();
            await app.stream.addEvent('A', 1);
            console.log(stream.kind, app.warehouse.kind);
            await app.close();
        })();`;
    const env = { ...process.env, DB_EVT_TYPE: 'sqlite', DB_EVT_DB: db.file, DB_EVTDWH_TYPE: 'sqlite', DB_EVTDWH_DB: `${db.file}.dwh` };
    const child = spawnSync(process.execPath, ['-e', script], { env, encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)) });
    assert.equal(child.stderr, '');
    assert.equal(child.stdout, 'sqlite sqlite\n');
});

test('a mistyped path makes no file where files must exist', async (t) => {
    const db = await database(t, 'sqlite');
    for (const opened of [EventStream, Warehouse]) {
        const error = await fails('ConnectFailed', opened.open(db.url, { create: false }));
        assert.equal(error.retriable, false);
    }
    assert.equal(fs.existsSync(db.file), false);
    await stream(t, db);
    assert.equal(fs.statSync(db.file).mode & 0o777, 0o600);
    await EventStream.open(db.url, { create: false }).then((opened) => opened.close());
});
