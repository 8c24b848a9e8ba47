'use strict';

const args = require('./args.js');
const { call, callNow, cancellable } = require('./error.js');
const { unpack } = require('./event.js');

const STARTS = { beginning: 0, now: 1, id: 2, time: 3 };

// While events are iterated over, the cursor is stored at most this often, in ms.
const ACK_INTERVAL_MS = 100;

/** [start, value] for the addon. */
function readStart(start) {
    if (start === 'beginning' || start === 'now') {
        return [STARTS[start], 0n];
    }
    if (start?.id !== undefined) {
        return [STARTS.id, BigInt.asIntN(64, args.id(start.id, 'start.id'))];
    }
    const time = start?.time instanceof Date ? Math.floor(start.time.getTime() / 1000) : start?.time;
    if (Number.isSafeInteger(time)) {
        return [STARTS.time, BigInt(time)];
    }
    throw args.invalid("start must be 'beginning', 'now', {id} or {time: Date or seconds since 1970}");
}

/** A consumer that polls: see index.d.ts. */
class Consumer {
    #handle;

    /** For EventStream only. */
    constructor(stream, user, component) {
        this.user = args.text(user, 'the user', 'InvalidUser');
        this.component = args.text(component, 'the component', 'InvalidComponent');
        this.#handle = callNow('openConsumer', stream, user, component);
    }

    async register() {
        await this.registerAt('beginning');
    }

    async registerAt(start) {
        await call('registerAt', this.#handle, ...readStart(start));
    }

    async unregister() {
        return call('unregister', this.#handle);
    }

    async poll({ lastId, want, limit, timeoutMs, signal } = {}) {
        const given = [
            args.maybeId(lastId, 'lastId'),
            args.want(want),
            args.count(limit, 'limit', args.FOREVER),
            args.timeout(timeoutMs, 0),
        ];
        return cancellable(signal, undefined, async (token) => unpack(await call('poll', this.#handle, ...given, token)));
    }

    async acknowledge(lastId) {
        await call('acknowledge', this.#handle, args.id(lastId, 'lastId'));
    }

    async skip(id) {
        await call('skip', this.#handle, args.id(id, 'id'));
    }

    async *events({ want, limit, signal } = {}) {
        const reliable = this.component !== 'LIVE';
        let done; // up to here the caller is through
        let stored; // and this is known to the database
        let storedAt = 0;
        const store = async () => {
            if (reliable && done !== stored) {
                await this.acknowledge(done);
                stored = done;
                storedAt = Date.now();
            }
        };
        try {
            while (true) {
                const lastId = reliable ? done : undefined;
                const events = await this.poll({ lastId, want, limit, timeoutMs: Infinity, signal });
                stored = done;
                storedAt = Date.now();
                for (const event of events) {
                    yield event;
                    done = event.id;
                    if (Date.now() - storedAt >= ACK_INTERVAL_MS) {
                        await store();
                    }
                }
            }
        } catch (error) {
            await store().catch(() => {}); // what is not stored comes again
            done = stored;
            throw error;
        } finally {
            await store(); // after a break; does nothing after an error
        }
    }
}

module.exports = { Consumer };
