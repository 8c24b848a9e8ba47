'use strict';
// Checks what users give, and makes of it what the addon takes.

const { EventStreamError } = require('./error.js');

const FOREVER = 4294967295;
const MOST = 2n ** 64n - 1n;

function invalid(message, kind = 'InvalidArgument', cause) {
    return new EventStreamError(kind, message, { cause });
}

function describe(value) {
    return typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : `${typeof value} ${String(value)}`.slice(0, 60);
}

/** A text for a C function, where it would end at a NUL. */
function text(value, what, kind) {
    if (typeof value !== 'string') {
        throw invalid(`${what} must be a string, not a ${typeof value}`, kind);
    }
    if (value.includes('\0')) {
        throw invalid(`${what} holds a NUL character`, kind);
    }
    return value;
}

/** An event id: a bigint, or a number that is surely exact. */
function id(value, what) {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) {
        return BigInt(value);
    }
    if (typeof value === 'bigint' && value >= 0n && value <= MOST) {
        return value;
    }
    throw invalid(`${what} must be a bigint, or a safe integer, of 0 or more: ${describe(value)}`);
}

function maybeId(value, what) {
    return value === undefined || value === null ? undefined : id(value, what);
}

/** A count, with a default. */
function count(value, what, otherwise) {
    if (value === undefined) {
        return otherwise;
    }
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= FOREVER) {
        throw invalid(`${what} must be an integer from 0 to ${FOREVER - 1}: ${describe(value)}`);
    }
    return value;
}

/** A time in ms; Infinity is for ever. */
function timeout(value, otherwise) {
    if (value === undefined) {
        return otherwise;
    }
    if (typeof value !== 'number' || !(value >= 0)) {
        throw invalid(`timeoutMs must be 0 or more, or Infinity: ${describe(value)}`);
    }
    return Math.min(Math.ceil(value), FOREVER);
}

/** Event types: undefined for all, one, or an iterable of them. */
function want(value) {
    if (value === undefined || value === null) {
        return undefined;
    }
    const types = typeof value === 'string' ? [value] : value;
    if (typeof types[Symbol.iterator] !== 'function') {
        throw invalid('want must be an array of event types');
    }
    return Array.from(types, (type) => text(type, 'a wanted type', 'InvalidType'));
}

function snakeCase(key) {
    return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Options, in camelCase or as docs/options.md has them. */
function options(value) {
    if (value === undefined || value === null) {
        return undefined;
    }
    if (typeof value !== 'object') {
        throw invalid('options must be an object', 'InvalidOption');
    }
    const given = Object.entries(value).filter(([, setting]) => setting !== undefined);
    return given.map(([key, setting]) => {
        if (!['string', 'number', 'boolean', 'bigint'].includes(typeof setting)) {
            throw invalid(`the option ${key} must be a string, number or boolean`, 'InvalidOption');
        }
        return [text(snakeCase(key), 'an option'), text(String(setting), `the option ${key}`, 'InvalidOption')];
    });
}

/** Options of every object that gives events: their data is checked when it is read, unless an option says otherwise. */
function readingOptions(value) {
    return [['check_json', 'true'], ...(options(value) ?? [])];
}

/** JSON text that is written as it is: see index.d.ts. */
class RawJson {
    constructor(json) {
        if (typeof json !== 'string') {
            throw invalid('rawJson takes a string', 'InvalidData');
        }
        this.json = json;
    }
}

/** The JSON text of an event's data. */
function json(data) {
    if (data === undefined) {
        return 'null';
    }
    if (data instanceof RawJson) {
        return data.json;
    }
    let result;
    try {
        result = JSON.stringify(data);
    } catch (error) {
        throw invalid(`the data cannot be written as JSON: ${error.message}`, 'InvalidData', error);
    }
    if (result === undefined) {
        throw invalid(`the data cannot be written as JSON: a ${typeof data}`, 'InvalidData');
    }
    return result;
}

function eventType(value) {
    return text(value, 'an event type', 'InvalidType');
}

/** New events, each [type, data] or {type, data}, as one flat array of texts. */
function newEvents(events) {
    if (typeof events?.[Symbol.iterator] !== 'function') {
        throw invalid('events must be an array of [type, data] or {type, data}');
    }
    return Array.from(events, (event) => {
        const pair = Array.isArray(event) ? event : [event?.type, event?.data];
        return [eventType(pair[0]), json(pair[1])];
    }).flat();
}

/** The parameters of a statement. */
function params(values) {
    if (values === undefined) {
        return [];
    }
    if (!Array.isArray(values)) {
        throw invalid('params must be an array');
    }
    return values.map((value, index) => {
        const good =
            value === null ||
            ['boolean', 'number', 'string'].includes(typeof value) ||
            (typeof value === 'bigint' && value >= -(2n ** 63n) && value <= MOST);
        if (good) {
            return value;
        }
        if (value instanceof Uint8Array) {
            return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
        }
        throw invalid(
            `parameter ${index} must be null, a boolean, number, string, Uint8Array or a bigint of 64 bits, not ${describe(value)}`,
        );
    });
}

module.exports = {
    FOREVER, RawJson, count, eventType, id, invalid, json, maybeId, newEvents, options, params, readingOptions, text,
    timeout, want,
};
