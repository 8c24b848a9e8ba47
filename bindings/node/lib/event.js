'use strict';

const { inspect } = require('node:util');

/** An event: see index.d.ts. Made by the million, so what is seldom asked for is made when it is. */
class Event {
    #batch;
    #index;
    #ts;

    constructor(id, type, data, batch, index) {
        this.id = id;
        this.type = type;
        this.data = data;
        this.#batch = batch;
        this.#index = index;
    }

    get ts() {
        this.#ts ??= new Date(this.#batch.times[this.#index] * 1000);
        return this.#ts;
    }

    get raw() {
        const { ends, text } = this.#batch;
        const start = this.#index === 0 ? 1 : ends[this.#index - 1] + 1;
        return text.slice(start, ends[this.#index]);
    }

    toJSON() {
        const ts = `${this.ts.toISOString().slice(0, 19)}Z`;
        return { id: String(this.id), type: this.type, data: this.data, ts };
    }

    [inspect.custom](depth, options) {
        const { id, type, data, ts } = this;
        return `Event ${inspect({ id, type, data, ts }, { ...options, depth })}`;
    }
}

/** The events of a batch, as src/batch.hpp packs them. Parses JSON once. */
function unpack({ numbers, names, text }) {
    const count = numbers.byteLength / 24;
    const ids = new BigUint64Array(numbers, 0, count);
    const times = new Float64Array(numbers, 8 * count, count);
    const ends = new Uint32Array(numbers, 16 * count, count);
    const kinds = new Uint32Array(numbers, 20 * count, count);
    const data = JSON.parse(text);
    const batch = { times, ends, text };
    const events = new Array(count);
    for (let i = 0; i < count; i++) {
        events[i] = new Event(ids[i], names[kinds[i]], data[i], batch, i);
    }
    return events;
}

module.exports = { Event, unpack };
