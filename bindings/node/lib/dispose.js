'use strict';

/** Makes `await using` call the method, in runtimes that have it. */
function disposable(type, method) {
    if (Symbol.asyncDispose) {
        Object.defineProperty(type.prototype, Symbol.asyncDispose, {
            value() {
                return this[method]();
            },
            configurable: true,
            writable: true,
        });
    }
}

module.exports = { disposable };
