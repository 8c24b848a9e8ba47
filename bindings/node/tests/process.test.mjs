// The process around the library: event loop, threads, exits, garbage collection.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as modern from 'futoin-eventstream-native';
import { database, onEachServer } from './support/db.mjs';
import { audited, fails, program, stream, until } from './support/stream.mjs';

const { EventStream } = modern;

function threads() {
    return readdirSync('/proc/self/task').length;
}

/** The names of all threads of this process. */
function threadNames() {
    return readdirSync('/proc/self/task').map((id) => {
        try {
            return readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim();
        } catch {
            return ''; // it has just ended
        }
    });
}

/** Runs a program that no signal may end. */
async function ends(name, args, options) {
    const result = await program(name, args, options);
    assert.equal(result.signal, null, `${result.signal}: ${result.stderr}`);
    return result;
}

for (const [how, code, pattern] of [
    ['exit', 7, /^$/],
    ['throw', 1, /meant to be uncaught/],
    ['reject', 1, /meant to be unhandled/],
    ['worker', 0, /^$/],
    ['worker-exit', 0, /^$/],
]) {
    test(`the end by ${how} in the middle of waits is an orderly one`, async (t) => {
        const db = await database(t, 'sqlite');
        const result = await ends('ends.mjs', [how, db.url]);
        assert.equal(result.code, code, result.stderr);
        assert.match(result.stderr, pattern);
        assert.ok(result.ms < 15000, `${result.ms} ms`);
        const { stream, audit } = await audited(t, db); // nothing is broken or locked
        await stream.addEvent('AFTER', 1);
        const found = (await audit.poll()).map((event) => event.data);
        assert.ok(!found.includes(2), 'what was not committed is gone');
    });
}

onEachServer('an exit does not wait for a transaction, and undoes it', async (t, db) => {
    const result = await ends('ends.mjs', ['exit', db.url]);
    assert.equal(result.code, 7, result.stderr);
    const { audit } = await audited(t, db);
    const found = (await audit.poll({ timeoutMs: 5000 })).map((event) => event.data);
    assert.deepEqual(found, [3]); // 1 was acknowledged, 2 was not committed
}, ['postgres', 'postgres18', 'mariadb', 'mysql']);

test('open streams let the process end; waits and receivers keep it alive', async (t) => {
    const db = await database(t, 'sqlite');
    for (const [what, output] of [['open', 'exit\n'], ['receiver', 'events 2\nexit\n'], ['poll', 'events 2\nexit\n']]) {
        const result = await ends('natural.mjs', [what, db.url]);
        assert.equal(result.code, 0, result.stderr);
        assert.equal(result.stdout, output);
        assert.equal(result.stderr, '');
    }
});

test('an exit does not wait for a server that does not answer', async () => {
    const result = await ends('stuck.mjs', []);
    assert.equal(result.code, 5);
    assert.ok(result.ms < 10000, `${result.ms} ms`);
});

onEachServer('a forgotten transaction is rolled back with a warning', async (t, db) => {
    const result = await ends('forgotten.mjs', [db.url], ['--expose-gc']);
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stdout, 'ForgottenTransaction\n');
    assert.match(result.stderr, /neither committed nor rolled back/);
});

onEachServer('timers, files and crypto go on while everything waits', async (t, db) => {
    const { stream, audit } = await audited(t, db, { busyTimeoutMs: 20000 });
    const controller = new AbortController();
    const waits = [];
    for (let i = 0; i < 8; i++) {
        waits.push(audit.poll({ timeoutMs: Infinity, signal: controller.signal }));
    }
    const tx = await stream.begin();
    await tx.addEvent('FIRST', 1);
    if (db.server === 'sqlite') {
        for (let i = 0; i < 8; i++) {
            waits.push(stream.addEvent('SECOND', i)); // each is stuck behind the transaction
        }
    }
    const began = Date.now();
    let ticks = 0;
    let longest = 0;
    let last = began;
    const timer = setInterval(() => {
        longest = Math.max(longest, Date.now() - last);
        last = Date.now();
        ticks++;
    }, 5);
    while (Date.now() - began < 400) {
        await fs.readFile('/proc/self/stat');
        await new Promise((resolve, reject) => crypto.randomBytes(16, (error) => (error ? reject(error) : resolve())));
    }
    clearInterval(timer);
    const all = Promise.allSettled(waits);
    controller.abort();
    await tx.rollback();
    const results = await all;
    assert.ok(ticks >= 20, `${ticks} ticks in ${Date.now() - began} ms`);
    assert.ok(longest < 250, `the loop stood still for ${longest} ms`);
    assert.deepEqual(new Set(results.slice(0, 8).map((result) => result.reason?.name)), new Set(['AbortError']));
    assert.ok(results.slice(8).every((result) => result.status === 'fulfilled'));
});

test('more calls than threads take their turns', async (t) => {
    const { stream, audit } = await audited(t, await database(t, 'sqlite'));
    const before = threads();
    const many = await Promise.all(Array.from({ length: 500 }, (_, i) => stream.addEvent('MANY', i)));
    assert.ok(threads() - before <= 40, `${threads()} threads`);
    assert.equal(new Set(many).size, 500);
    assert.equal((await audit.poll()).length, 500);
    await Promise.all(Array.from({ length: 50 }, () => stream.transaction((tx) => tx.addEvent('MANY', 0))));
});

test('a closed stream leaves no thread of the library', async () => {
    const opened = await EventStream.open('sqlite::memory:');
    await opened.migrate();
    const subscription = await opened.subscribe('LIVE');
    await fails('TimeoutError', subscription.next({ signal: AbortSignal.timeout(20) }));
    assert.ok(threadNames().includes('fes-hub'));
    await subscription.close();
    await opened.close();
    await until(() => !threadNames().some((name) => name.startsWith('fes-') && name !== 'fes-node'));
});

test('a call after close fails, and closing again does nothing', async () => {
    const opened = await EventStream.open('sqlite::memory:');
    await opened.migrate();
    const audit = opened.consumer('Audit', { user: 'app' });
    await audit.register();
    const waiting = audit.poll({ timeoutMs: Infinity });
    await sleep(20);
    await Promise.all([opened.close(), fails('Closed', waiting)]);
    await opened.close();
    await fails('Closed', opened.addEvent('A', 1));
    await fails('Closed', audit.poll());
    await fails('Closed', () => opened.consumer('Audit'));
    await fails('Closed', () => opened.statement('A', 1));
});

test('await using closes', async (t) => {
    const db = await database(t, 'sqlite');
    const opened = await stream(t, db);
    const tx = await opened.begin();
    await tx.addEvent('A', 1);
    assert.equal(typeof Symbol.asyncDispose, 'symbol');
    await tx[Symbol.asyncDispose]();
    assert.ok(tx.ended);
    for (const type of ['EventStream', 'Subscription', 'ReliableReceiver', 'LiveReceiver', 'Warehouse', 'Replay', 'Archiver', 'Discarder', 'ServiceApp']) {
        assert.equal(typeof modern[type].prototype[Symbol.asyncDispose], 'function', type);
    }
    await opened[Symbol.asyncDispose]();
    await fails('Closed', opened.addEvent('A', 1));
});

test('both module systems give the same', () => {
    const classic = createRequire(import.meta.url)('futoin-eventstream-native');
    for (const name of Object.keys(classic)) {
        assert.equal(modern[name], classic[name], name);
    }
    assert.deepEqual(Object.keys(modern).filter((name) => name !== 'default' && name !== 'module.exports').sort(), Object.keys(classic).sort());
    assert.match(classic.version, /^\d+\.\d+\.\d+$/);
});

test('each open and close gives back what it took', async () => {
    const round = async () => {
        const opened = await EventStream.open('sqlite::memory:');
        await opened.close();
    };
    await round();
    const files = readdirSync('/proc/self/fd').length;
    const before = threads();
    for (let i = 0; i < 200; i++) {
        await round();
    }
    assert.ok(readdirSync('/proc/self/fd').length <= files + 1);
    assert.ok(threads() <= before + 3, `${before} threads, then ${threads()}`);
});

