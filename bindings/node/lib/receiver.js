'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const { EventEmitter } = require('node:events');
const args = require('./args.js');
const { call, callNow, cancellable, toError } = require('./error.js');
const { unpack } = require('./event.js');
const { attach, newKey } = require('./native.js');
const { report, toNotice } = require('./notice.js');
const { disposable } = require('./dispose.js');
const { EventStream } = require('./stream.js');

// The receiver whose listener the current code runs in.
const inside = new AsyncLocalStorage();

/** [poison, count] for the addon. */
function readPoison(poison) {
    if (poison === 'retry' || poison === 'stop') {
        return [poison === 'retry' ? 0 : 1, 0];
    }
    if (Number.isInteger(poison?.skipAfter) && poison.skipAfter > 0) {
        return [2, args.count(poison.skipAfter, 'skipAfter')];
    }
    throw args.invalid("poison must be 'retry', 'stop' or {skipAfter: 1 or more}");
}

/** The common part of both receivers: see index.d.ts. */
class Receiver extends EventEmitter {
    #handle;
    #key = newKey();
    #detach; // while it works
    #starting; // a promise, until it is stopped
    #stopping = false;
    #waiting = []; // resolve the promises that wait for the end
    #closed;
    #wake; // continues a delivery that nobody listens to
    #failure; // of a listener, the last one
    #told = new Set();
    #touched = false; // started or stopped by hand

    constructor(stream, component, { user = 'app', want, poison = 'retry', ...options } = {}) {
        super();
        this.user = args.text(user, 'the user', 'InvalidUser');
        this.component = args.text(component, 'the component', 'InvalidComponent');
        this.#handle = callNow(
            'openReceiver',
            EventStream.handleOf(stream),
            this.user,
            this.component,
            this.#key,
            args.want(want),
            args.options(options),
            ...readPoison(poison),
        );
        this.on('newListener', (name) => name === 'events' && process.nextTick(() => this.#listened()));
    }

    async start() {
        this.#touched = true;
        await this.#unlessInside(this.#started());
    }

    get running() {
        return callNow('isReceiving', this.#handle);
    }

    async stop(options) {
        this.#touched = true;
        await this.#unlessInside(this.#stop(options));
    }

    stats() {
        const [delivered, skipped, overflows, failures, givenUp] = callNow('receiverStats', this.#handle);
        return { delivered, skipped, overflows, failures, givenUp };
    }

    async close() {
        this.#touched = true;
        this.#closed ??= this.#stop().then(() => call('close', this.#handle));
        await this.#unlessInside(this.#closed);
    }

    /** Waits for an end, except inside a listener: the end waits for the listener. */
    async #unlessInside(end) {
        if (inside.getStore() !== this) {
            return end;
        }
        end.catch((error) => report(this, error, this.#told));
    }

    /** The first listener to events starts the receiver, unless that was taken in hand. */
    #listened() {
        this.#wake?.(true);
        if (!this.#touched) {
            this.start().catch((error) => report(this, error, this.#told));
        }
    }

    /** Starts it unless it is started; one that is about to end is waited for, and begins anew. */
    async #started() {
        while (this.#starting && this.#stopping) {
            await new Promise((resolve) => this.#waiting.push(resolve));
        }
        this.#starting ??= this.#start();
        await this.#starting;
    }

    async #start() {
        this.#stopping = false;
        this.#detach = attach(this.#key, {
            events: (seq, batch) => this.#deliver(seq, batch),
            corrupt: (seq, failure) => {
                report(this, toError(failure), this.#told);
                this.#answer(false);
            },
            notice: (...notice) => this.#notice(toNotice(...notice)),
        });
        try {
            await call('startReceiver', this.#handle);
        } catch (error) {
            this.#ended();
            throw error;
        }
    }

    async #stop({ timeoutMs, signal } = {}) {
        const timeout = args.timeout(timeoutMs, args.FOREVER);
        if (!this.#starting) {
            return;
        }
        const started = this.#starting;
        this.#stopping = true;
        await started.catch(() => {});
        this.#wake?.(false);
        await cancellable(signal, undefined, (token) => call('stopReceiver', this.#handle, timeout, token));
        if (this.#starting === started) {
            this.#ended();
        }
    }

    #ended() {
        this.#starting = undefined;
        this.#detach?.();
        this.#detach = undefined;
        this.#waiting.splice(0).forEach((resume) => resume());
    }

    async #deliver(seq, batch) {
        let done = false;
        try {
            const events = unpack(batch);
            done = (await this.#somebodyListens()) && (await this.#callListeners(events, seq));
        } finally {
            this.#answer(done);
        }
    }

    #answer(done) {
        // Refused only when the handle is closed, and nobody waits for the answer.
        call('answer', this.#handle, done).catch(() => {});
    }

    /** Waits for a listener; false if the receiver is stopped first. */
    async #somebodyListens() {
        while (this.listenerCount('events') === 0) {
            if (this.#stopping || !(await new Promise((resolve) => (this.#wake = resolve)))) {
                return false;
            }
        }
        return true;
    }

    /** Calls all, waits for all, and reports the first failure. */
    async #callListeners(events, seq) {
        const calls = this.rawListeners('events').map((listener) =>
            inside.run(this, async () => listener.call(this, events, { seq })),
        );
        const failed = (await Promise.allSettled(calls)).find((result) => result.status === 'rejected');
        this.#failure = failed?.reason;
        if (failed) {
            report(this, failed.reason, this.#told);
        }
        return !failed;
    }

    #notice(notice) {
        if (notice.kind === 'Skipped') {
            notice.error = this.#failure; // none where the event could not be read: `text` tells
            this.#failure = undefined;
        }
        if (notice.kind === 'Stopped') {
            this.#ended(); // by itself, or after a stop that did not wait; `start` may begin again
        }
        if (notice.kind === 'Ready') {
            this.#told.clear();
            this.emit('ready');
        }
        this.emit('notice', notice);
        if (notice.error && notice.kind !== 'Skipped') {
            report(this, notice.error, this.#told);
        }
    }
}

disposable(Receiver, 'close');

/** Gets every event from its cursor on: see index.d.ts. */
class ReliableReceiver extends Receiver {
    constructor(stream, component, options) {
        if (component === 'LIVE') {
            throw args.invalid('the component LIVE is for a LiveReceiver', 'LiveNotAllowed');
        }
        super(stream, component, options);
    }
}

/** Gets the events that come while it runs: see index.d.ts. */
class LiveReceiver extends Receiver {
    constructor(stream, options) {
        super(stream, 'LIVE', options);
    }
}

module.exports = { ReliableReceiver, LiveReceiver };
