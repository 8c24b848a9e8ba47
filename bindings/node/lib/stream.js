'use strict';

const args = require('./args.js');
const { verification } = require('./checks.js');
const { call, callNow, cancellable } = require('./error.js');
const { Consumer } = require('./consumer.js');
const { Subscription } = require('./subscription.js');
const { Transaction } = require('./transaction.js');
const { disposable } = require('./dispose.js');

const KINDS = { sqlite: 1, postgres: 2, postgresql: 2, mysql: 3, mariadb: 3 };
const KIND_NAMES = [undefined, 'sqlite', 'postgres', 'mysql'];

function kindName(code) {
    return KIND_NAMES[code];
}

/** The statement that adds an event, for a connection of the caller's: see index.d.ts. */
function statement(kind, type, data, options) {
    if (!Object.hasOwn(KINDS, kind)) {
        throw args.invalid(`the kind must be sqlite, postgres or mysql, not ${String(kind)}`);
    }
    return callNow('statement', KINDS[kind], args.eventType(type), args.json(data), args.options(options));
}

/** A stream of events in one database: see index.d.ts. */
class EventStream {
    #handle;
    #closed;

    /** For `open`, `fromEnv` and ServiceApp only. */
    constructor(handle) {
        this.#handle = handle;
        this.kind = kindName(callNow('streamKind', handle));
    }

    static async open(url, options) {
        return new EventStream(await call('openStream', args.text(url, 'the URL', 'InvalidUrl'), args.readingOptions(options)));
    }

    static async fromEnv(options) {
        return new EventStream(await call('streamFromEnv', args.readingOptions(options)));
    }

    /** For the other classes of this package. */
    static handleOf(stream) {
        if (!(stream instanceof EventStream)) {
            throw args.invalid('an EventStream is needed');
        }
        return stream.#handle;
    }

    async migrate() {
        await call('migrate', this.#handle);
    }

    async addEvent(type, data) {
        return call('addEvent', this.#handle, args.eventType(type), args.json(data));
    }

    async addEvents(events) {
        return call('addEvents', this.#handle, args.newEvents(events));
    }

    async begin() {
        return new Transaction(await call('begin', this.#handle));
    }

    async transaction(body) {
        if (typeof body !== 'function') {
            throw args.invalid('transaction takes a function');
        }
        const tx = await this.begin();
        let result;
        try {
            result = await body(tx);
        } catch (error) {
            await tx.rollback().catch(() => {}); // it ends anyway; the first error is the one to tell of
            throw error;
        }
        if (!tx.ended) {
            await tx.commit();
        }
        return result;
    }

    statement(type, data) {
        return callNow('streamStatement', this.#handle, args.eventType(type), args.json(data));
    }

    consumer(component, { user = 'app' } = {}) {
        return new Consumer(this.#handle, user, component);
    }

    live(options) {
        return this.consumer('LIVE', options);
    }

    async subscribe(component, { user = 'app', want, ...options } = {}) {
        return Subscription.open(this.#handle, user, component, want, options);
    }

    async lag() {
        const lag = JSON.parse(await call('lag', this.#handle));
        const id = (text) => (text === null ? null : BigInt(text));
        return {
            highestId: id(lag.highest_id),
            firstUnsettled: id(lag.first_unsettled),
            holders: lag.holders,
            blocked: lag.blocked,
            warnings: lag.warnings,
            consumers: lag.consumers.map((consumer) => ({
                ident: consumer.ident,
                lastId: id(consumer.last_id),
                eventsBehind: consumer.events_behind,
                secondsBehind: consumer.seconds_behind,
                secondsSinceSeen: consumer.seconds_since_seen,
                secondsRegistered: consumer.seconds_registered,
            })),
        };
    }

    async doctor({ warehouse, roles = [] } = {}) {
        const { Warehouse } = require('./history.js'); // which needs this file
        const history = warehouse === undefined ? undefined : Warehouse.handleOf(warehouse);
        const names = Array.from(roles, (role) => args.text(role, 'a role'));
        return JSON.parse(await call('doctor', this.#handle, history, names));
    }

    async verify({ warehouse, fromId = 1n, toId, examples, timeoutMs, signal } = {}) {
        const { Warehouse } = require('./history.js'); // which needs this file
        const history = warehouse === undefined ? undefined : Warehouse.handleOf(warehouse);
        const given = [args.id(fromId, 'fromId'), args.maybeId(toId, 'toId') ?? 0n, args.count(examples, 'examples', 20)];
        const limit = args.timeout(timeoutMs, args.FOREVER);
        return cancellable(signal, undefined, async (token) =>
            verification(await call('verify', this.#handle, history, ...given, limit, token)),
        );
    }

    async close() {
        this.#closed ??= call('close', this.#handle);
        await this.#closed;
    }
}

disposable(EventStream, 'close');

module.exports = { EventStream, kindName, statement };
