'use strict';

const args = require('./args.js');
const { call, callNow, cancellable } = require('./error.js');
const { native } = require('./native.js');
const { unpack } = require('./event.js');
const { disposable } = require('./dispose.js');

/** A consumer that is pushed to, and takes: see index.d.ts. */
class Subscription {
    #handle;
    #pending = new Set(); // tokens of `next`
    #closed;

    /** For EventStream only. */
    static async open(stream, user, component, want, options) {
        const subscription = new Subscription();
        subscription.#handle = await call(
            'subscribe',
            stream,
            args.text(user, 'the user', 'InvalidUser'),
            args.text(component, 'the component', 'InvalidComponent'),
            args.want(want),
            args.options(options),
        );
        return subscription;
    }

    async next({ timeoutMs, signal } = {}) {
        const timeout = args.timeout(timeoutMs, args.FOREVER);
        return cancellable(signal, this.#pending, async (token) => {
            const delivery = await call('next', this.#handle, timeout, token);
            return delivery && { seq: delivery.seq, events: unpack(delivery.batch) };
        });
    }

    async ack() {
        await call('ack', this.#handle);
    }

    async skip(id) {
        await call('skipPushed', this.#handle, args.id(id, 'id'));
    }

    stats() {
        const [delivered, skipped, overflows] = callNow('subscriptionStats', this.#handle);
        return { delivered, skipped, overflows };
    }

    async *deliveries({ signal } = {}) {
        while (true) {
            const delivery = await this.next({ signal });
            if (delivery) {
                yield delivery;
                await this.ack();
            }
        }
    }

    [Symbol.asyncIterator]() {
        return this.deliveries();
    }

    async close() {
        this.#closed ??= call('close', this.#handle);
        this.#pending.forEach((token) => native.cancel(token));
        await this.#closed;
    }
}

disposable(Subscription, 'close');

module.exports = { Subscription };
