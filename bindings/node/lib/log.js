'use strict';

const args = require('./args.js');
const { callNow } = require('./error.js');
const { attachLog } = require('./native.js');

const LEVELS = ['off', 'error', 'warn', 'info', 'debug', 'trace'];

/** Where the library's log goes: see index.d.ts. */
function setLog(handler, level = 'info') {
    const off = handler === null || handler === undefined;
    if (!off && typeof handler !== 'function') {
        throw args.invalid('setLog takes a function, or null');
    }
    if (!LEVELS.includes(level)) {
        throw args.invalid(`the level must be one of ${LEVELS.join(', ')}`);
    }
    callNow('setLog', off ? 0 : LEVELS.indexOf(level));
    attachLog(off ? undefined : { log: (number, message) => handler(LEVELS[number], message) });
}

module.exports = { setLog };
