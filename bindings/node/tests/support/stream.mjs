// Streams of a test's own, and small helpers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { EventStream } from 'futoin-eventstream-native';
import { after } from './db.mjs';

/** The stream of a database, with its tables made; closed when the test ends. */
export async function stream(t, db, options) {
    const opened = await EventStream.open(db.url, options);
    after(t, () => opened.close());
    await opened.migrate();
    return opened;
}

/** The stream, and the registered consumer app:Audit. */
export async function audited(t, db, options) {
    const opened = await stream(t, db, options);
    const audit = opened.consumer('Audit', { user: 'app' });
    await audit.register();
    return { stream: opened, audit };
}

/** Asserts that the promise (or function) fails with this kind of error, and gives the error. */
export async function fails(kind, call) {
    const error = await Promise.resolve()
        .then(() => (typeof call === 'function' ? call() : call))
        .then(
            (value) => assert.fail(`${kind} was expected, not ${String(value)}`),
            (error) => error,
        );
    assert.equal(error.kind ?? error.name, kind, error.stack);
    return error;
}

/** Waits for an event of an emitter, up to 20 s. */
export async function next(emitter, name) {
    return once(emitter, name, { signal: AbortSignal.timeout(20000) });
}

/** Waits until the condition holds, up to 20 s. */
export async function until(condition) {
    const end = Date.now() + 20000;
    while (!(await condition())) {
        assert.ok(Date.now() < end, `still not: ${condition}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
}

export const ids = (events) => events.map((event) => event.id);
export const types = (events) => events.map((event) => event.type);

/** Runs a program of tests/programs; gives its exit code, signal, output and time in ms. */
export async function program(name, args = [], options = [], limit = 30000) {
    const file = fileURLToPath(new URL(`../programs/${name}`, import.meta.url));
    const began = Date.now();
    const child = spawn(process.execPath, [...options, file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => (stdout += chunk));
    child.stderr.on('data', (chunk) => (stderr += chunk));
    const timer = setTimeout(() => child.kill('SIGABRT'), limit);
    const [code, signal] = await once(child, 'close');
    clearTimeout(timer);
    return { code, signal, stdout, stderr, ms: Date.now() - began };
}
