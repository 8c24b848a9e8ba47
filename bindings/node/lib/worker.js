'use strict';

const { EventEmitter } = require('node:events');
const args = require('./args.js');
const { call, callNow, cancellable } = require('./error.js');
const { attach } = require('./native.js');
const { report, toNotice } = require('./notice.js');
const { disposable } = require('./dispose.js');

/** An object with a thread of the library, which reports by notices: see index.d.ts. */
class Worker extends EventEmitter {
    #handle;
    #key;
    #detach; // while it is started
    #closed;
    #told = new Set();

    constructor(handle, key) {
        super();
        this.#handle = handle;
        this.#key = key;
    }

    /** For subclasses: runs `body` with the native handle, and with notices coming. */
    async listening(body) {
        const detach = this.#attach();
        try {
            return await body(this.#handle);
        } finally {
            detach();
        }
    }

    /** For subclasses: the same until `unlisten`. */
    async listen(body) {
        // Of its own: the end of a thread that `body` waits for takes away what was there before.
        const detach = this.#attach();
        try {
            await body(this.#handle);
        } catch (error) {
            detach();
            throw error;
        }
        this.unlisten();
        this.#detach = detach;
    }

    /** For subclasses: a call that takes a time and a token. */
    async waiting(name, { timeoutMs, signal } = {}) {
        const timeout = args.timeout(timeoutMs, args.FOREVER);
        return this.listening((handle) =>
            cancellable(signal, undefined, (token) => call(name, handle, timeout, token)),
        );
    }

    /** For subclasses: looks at each notice before users do. */
    noticed() {}

    unlisten() {
        this.#detach?.();
        this.#detach = undefined;
    }

    /** For subclasses: a call that gives its result at once. */
    now(name) {
        return callNow(name, this.#handle);
    }

    async close() {
        this.#closed ??= this.listening((handle) => call('close', handle));
        await this.#closed;
        this.unlisten();
    }

    #attach() {
        return attach(this.#key, { notice: (...notice) => this.#notice(toNotice(...notice)) });
    }

    #notice(notice) {
        this.noticed(notice);
        this.emit('notice', notice);
        if (notice.error) {
            report(this, notice.error, this.#told);
        } else {
            this.#told.clear();
        }
    }
}

disposable(Worker, 'close');

/** One worker: an archiver or a discarder. `names` are those of its native functions. */
class Runner extends Worker {
    #names;

    constructor(handle, key, names) {
        super(handle, key);
        this.#names = names;
    }

    get running() {
        return this.now(this.#names.running);
    }

    async start() {
        await this.listen((handle) => call(this.#names.start, handle));
        if (!this.running) {
            this.unlisten(); // it has ended by itself before
        }
    }

    async stop(options) {
        await this.waiting(this.#names.stop, options);
        this.unlisten();
    }

    async runOnce() {
        const { count } = await this.runFor();
        return count;
    }

    async runFor(options) {
        const [count, complete] = await this.waiting(this.#names.run, options);
        return { count, complete };
    }

    noticed(notice) {
        if (notice.kind === 'Stopped') {
            this.unlisten(); // by itself, or after a stop that did not wait
        }
    }
}

module.exports = { Runner, Worker };
