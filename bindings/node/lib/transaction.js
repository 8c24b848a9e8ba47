'use strict';

const args = require('./args.js');
const { call } = require('./error.js');
const { disposable } = require('./dispose.js');

// A transaction that is lost without an end holds a connection, and on SQLite all other writers.
const forgotten = new FinalizationRegistry((handle) => {
    process.emitWarning('a transaction was neither committed nor rolled back before it was lost: it is rolled back', {
        type: 'EventStreamWarning',
        code: 'ForgottenTransaction',
    });
    call('close', handle).catch(() => {});
});

/** A database transaction: see index.d.ts. */
class Transaction {
    #handle;
    #ended = false;

    /** For EventStream only. */
    constructor(handle) {
        this.#handle = handle;
        forgotten.register(this, handle, this);
    }

    get ended() {
        return this.#ended;
    }

    async execute(sql, params) {
        return call('execute', this.#handle, args.text(sql, 'the SQL'), args.params(params));
    }

    async query(sql, params) {
        return call('query', this.#handle, args.text(sql, 'the SQL'), args.params(params));
    }

    async addEvent(type, data) {
        return call('txAddEvent', this.#handle, args.eventType(type), args.json(data));
    }

    async addEvents(events) {
        return call('txAddEvents', this.#handle, args.newEvents(events));
    }

    async commit() {
        await this.#end('commit');
    }

    async rollback() {
        if (!this.#ended) {
            await this.#end('rollback');
        }
    }

    async #end(how) {
        this.#ended = true;
        forgotten.unregister(this);
        try {
            await call(how, this.#handle);
        } finally {
            await call('close', this.#handle);
        }
    }
}

disposable(Transaction, 'rollback');

module.exports = { Transaction };
