'use strict';
// The addon, and how the rest of lib/ calls it.

const { addon } = require('./paths.js');

const native = require(addon());

// The objects that are called back, by key: {handler, count}. Present only while it works, and keeps the process
// alive then, as a server of Node.js does.
const working = new Map();
let lastKey = 0;

native.setDispatcher((key, what, ...rest) => {
    const entry = working.get(key);
    if (!entry) {
        throw new Error('nobody listens'); // answers a delivery: not done
    }
    try {
        entry.handler[what](...rest);
    } catch (error) {
        queueMicrotask(() => {
            throw error; // a listener's: uncaught, as everywhere in Node.js
        });
    }
});

// Before threads of the library could meet a process that is half gone.
process.once('exit', native.shutDown);

/** A new key for callbacks. */
function newKey() {
    return ++lastKey;
}

/**
 * Lets callbacks of the key reach `handler` until the function that it gives is called (once or
 * more); the process stays alive meanwhile.
 */
function attach(key, handler) {
    const entry = working.get(key) ?? { handler, count: 0 };
    working.set(key, entry);
    entry.count++;
    native.hold(true);
    let attached = true;
    return () => {
        if (attached) {
            attached = false;
            native.hold(false);
            entry.count--;
            if (entry.count === 0) {
                working.delete(key);
            }
        }
    };
}

/** Log messages reach `handler`; they keep nothing alive. Undefined: nobody. */
function attachLog(handler) {
    if (handler) {
        working.set(0, { handler, count: 1 });
    } else {
        working.delete(0);
    }
}

module.exports = { native, newKey, attach, attachLog };
