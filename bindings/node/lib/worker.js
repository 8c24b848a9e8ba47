'use strict';

const { EventEmitter } = require('node:events');
const { call, callNow } = require('./error.js');
const { attach } = require('./native.js');
const { report, toNotice } = require('./notice.js');
const { disposable } = require('./dispose.js');

/** What works in a thread of the library, and tells how it fares: see index.d.ts. */
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
        this.#detach ??= this.#attach();
        try {
            await body(this.#handle);
        } catch (error) {
            this.unlisten();
            throw error;
        }
    }

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
        this.emit('notice', notice);
        if (notice.error) {
            report(this, notice.error, this.#told);
        } else {
            this.#told.clear();
        }
    }
}

disposable(Worker, 'close');

module.exports = { Worker };
