'use strict';

const args = require('./args.js');
const { call, callNow, cancellable } = require('./error.js');
const { unpack } = require('./event.js');
const { newKey } = require('./native.js');
const { disposable } = require('./dispose.js');
const { EventStream, kindName } = require('./stream.js');
const { Runner } = require('./worker.js');

const CHUNK = 1000;

/** The database of all history: see index.d.ts. */
class Warehouse {
    #handle;
    #closed;

    /** For `open`, `fromEnv` and ServiceApp only. */
    constructor(handle) {
        this.#handle = handle;
        this.kind = kindName(callNow('warehouseKind', handle));
    }

    static async open(url, options) {
        const given = [args.text(url, 'the URL', 'InvalidUrl'), args.readingOptions(options)];
        return new Warehouse(await call('openWarehouse', ...given));
    }

    static async fromEnv(options) {
        return new Warehouse(await call('warehouseFromEnv', args.readingOptions(options)));
    }

    /** For the other classes of this package. */
    static handleOf(warehouse) {
        if (!(warehouse instanceof Warehouse)) {
            throw args.invalid('a Warehouse is needed');
        }
        return warehouse.#handle;
    }

    async migrate() {
        await call('migrateWarehouse', this.#handle);
    }

    async history(fromId = 0n, want, limit) {
        const types = args.want(want);
        const most = args.count(limit, 'limit', CHUNK);
        return unpack(await call('history', this.#handle, args.id(fromId, 'fromId'), types, most));
    }

    replay(stream, { fromId = 0n, want } = {}) {
        const given = [args.id(fromId, 'fromId'), args.want(want)];
        return new Replay(callNow('openReplay', this.#handle, EventStream.handleOf(stream), ...given));
    }

    async close() {
        this.#closed ??= call('close', this.#handle);
        await this.#closed;
    }
}

disposable(Warehouse, 'close');

/** All history and the active events as one: see index.d.ts. */
class Replay {
    #handle;
    #closed;

    /** For Warehouse only. */
    constructor(handle) {
        this.#handle = handle;
    }

    get position() {
        return callNow('replayPosition', this.#handle);
    }

    async next(limit, { timeoutMs, signal } = {}) {
        const given = [args.count(limit, 'limit', CHUNK), args.timeout(timeoutMs, undefined)];
        return cancellable(signal, undefined, async (token) =>
            unpack(await call('nextReplayed', this.#handle, ...given, token)),
        );
    }

    async *[Symbol.asyncIterator]() {
        for (let events = await this.next(); events.length > 0; events = await this.next()) {
            yield* events;
        }
    }

    async close() {
        this.#closed ??= call('close', this.#handle);
        await this.#closed;
    }
}

disposable(Replay, 'close');

const ARCHIVER = { running: 'isArchiving', start: 'startArchiver', stop: 'stopArchiver', run: 'archive' };
const DISCARDER = { running: 'isDiscarding', start: 'startDiscarder', stop: 'stopDiscarder', run: 'discard' };

/** Copies the stream to the warehouse: see index.d.ts. */
class Archiver extends Runner {
    constructor(stream, warehouse, options) {
        const key = newKey();
        const parts = [EventStream.handleOf(stream), Warehouse.handleOf(warehouse)];
        super(callNow('openArchiver', ...parts, key, args.options(options)), key, ARCHIVER);
    }
}

/** Deletes what everybody has acknowledged: see index.d.ts. */
class Discarder extends Runner {
    constructor(stream, options) {
        const key = newKey();
        const opened = callNow('openDiscarder', EventStream.handleOf(stream), key, args.options(options));
        super(opened, key, DISCARDER);
    }
}

module.exports = { Warehouse, Replay, Archiver, Discarder };
