'use strict';

const { toError } = require('./error.js');

// By the numbers of the C interface.
const KINDS = [
    undefined,
    'Ready',
    'NewEvents',
    'ProcessedEvents',
    'Discarded',
    'Expired',
    'Waiting',
    'WorkerError',
    'ReceiverError',
    'Skipped',
    'Stopped',
];

/** A notice of a receiver, archiver, discarder or app: see index.d.ts. */
function toNotice(number, count, text, failure) {
    const kind = KINDS[number] ?? `Notice${number}`;
    // An id needs its bigint; a count of events fits a number.
    const value = kind === 'Skipped' ? count : Number(count);
    return { kind, number: value, text, error: failure === null ? undefined : toError(failure) };
}

/**
 * Tells of an error that the emitter itself has survived: by 'error', or, where nobody listens, by a
 * warning of the process. It never throws for want of a listener. `told` keeps a repeated warning
 * from coming again and again.
 */
function report(emitter, error, told) {
    if (emitter.listenerCount('error') > 0) {
        emitter.emit('error', error);
        return;
    }
    const message = `${emitter.constructor.name}: ${error?.message ?? error}`;
    if (!told.has(message)) {
        told.add(message);
        process.emitWarning(message, { type: 'EventStreamWarning', code: error?.kind });
    }
}

module.exports = { toNotice, report };
