'use strict';

const { native } = require('./native.js');

// The names of all codes, and back.
const CODES = new Map();
for (let code = 0; code <= 100; code++) {
    const kind = native.statusName(code);
    if (kind !== 'Unknown') {
        CODES.set(kind, code);
    }
}

/** An error of the library: see index.d.ts. */
class EventStreamError extends Error {
    constructor(kind, message, { sqlState = '', cause } = {}) {
        super(message, cause === undefined ? undefined : { cause });
        const code = CODES.get(kind);
        if (!code) {
            throw new TypeError(`unknown kind of error: ${kind}`);
        }
        this.code = code;
        this.kind = kind;
        this.retriable = native.isRetriable(code);
        this.sqlState = sqlState;
    }

    get name() {
        return this.kind ?? 'EventStreamError'; // not there yet when the stack is captured
    }
}

/** Turns the failure of a native call into an error with the caller's stack. */
function toError(failure) {
    if (failure === null || typeof failure !== 'object' || failure instanceof Error) {
        return failure;
    }
    if (!CODES.has(failure.kind)) {
        return new EventStreamError('Internal', failure.message); // of a newer library
    }
    const error = new EventStreamError(failure.kind, failure.message, { sqlState: failure.sqlState });
    // For some kinds it depends on the reason.
    error.retriable = failure.retriable;
    error.unreadable = failure.unreadable;
    return error;
}

/** Calls a native function that gives a promise. */
async function call(name, ...args) {
    try {
        return await native[name](...args);
    } catch (failure) {
        throw toError(failure);
    }
}

/** Calls a native function that gives its result at once. */
function callNow(name, ...args) {
    try {
        return native[name](...args);
    } catch (failure) {
        throw toError(failure);
    }
}

/**
 * Calls `run` with a cancel token that ends with the signal, if there is one, and with the set
 * `pending`, whose tokens somebody else cancels.
 */
async function cancellable(signal, pending, run) {
    if (signal === undefined && !pending) {
        return run(undefined);
    }
    signal?.throwIfAborted();
    const token = native.makeToken();
    const abort = () => native.cancel(token);
    signal?.addEventListener('abort', abort, { once: true });
    pending?.add(token);
    try {
        return await run(token);
    } catch (error) {
        throw signal?.aborted && error.kind === 'Cancelled' ? signal.reason : error;
    } finally {
        signal?.removeEventListener('abort', abort);
        pending?.delete(token);
    }
}

module.exports = { EventStreamError, toError, call, callNow, cancellable };
