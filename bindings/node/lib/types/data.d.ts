/** The data of events, errors, options and statements. Part of ../index.d.ts. */

/** A value that can be written as JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** The data of a new event: JSON, an object with `toJSON`, {@link rawJson}, undefined for null. */
export type EventData = Json | object | RawJson | undefined;

/** JSON text, made by {@link rawJson}. */
export interface RawJson {
    readonly json: string;
}

/**
 * JSON text that is written as it is: for numbers that JavaScript would round, for a certain order of
 * keys, or to pass on {@link Event.raw}. The library refuses what is not JSON (InvalidData).
 */
export function rawJson(json: string): RawJson;

/** The id of an event where it goes in: a bigint, or a safe integer. */
export type IdInput = bigint | number;

/** Event types that are asked for: one, several, or undefined for all. */
export type Want = string | Iterable<string> | null | undefined;

/** Settings by name, in camelCase or as in docs/options.md; an unknown one gives InvalidOption. */
export interface Options {
    [name: string]: string | number | boolean | bigint | undefined;
}

/** The kinds of databases; MariaDB is `mysql`. */
export type DatabaseKind = 'sqlite' | 'postgres' | 'mysql';

/** The kinds of errors. */
export type ErrorKind =
    | 'InvalidType'
    | 'InvalidData'
    | 'TooLarge'
    | 'InvalidComponent'
    | 'InvalidUser'
    | 'IdentTooLong'
    | 'InvalidLastId'
    | 'InvalidOption'
    | 'InvalidUrl'
    | 'InvalidArgument'
    | 'NotRegistered'
    | 'LiveNotAllowed'
    | 'SecurityError'
    | 'PermissionDenied'
    | 'Occupied'
    | 'ConnectFailed'
    | 'ConnectionLost'
    | 'Busy'
    | 'Conflict'
    | 'Timeout'
    | 'OutOfResources'
    | 'TransactionEnded'
    | 'NotMigrated'
    | 'ForeignSchema'
    | 'NewerSchema'
    | 'UnsafeServer'
    | 'ForeignSqlite'
    | 'CorruptEvent'
    | 'HistoryConflict'
    | 'StreamRewound'
    | 'LateEvent'
    | 'Constraint'
    | 'Database'
    | 'Closed'
    | 'Cancelled'
    | 'Internal'
    | 'Panic';

/** An error of the library. May be made by users, too, for their own tests. */
export class EventStreamError extends Error {
    constructor(kind: ErrorKind, message: string, options?: { sqlState?: string; cause?: unknown });
    /** The same as `kind`. */
    readonly name: string;
    /** The description of the failure. */
    readonly kind: ErrorKind;
    /** The number of the kind: `FES_...` of futoin_eventstream.h. It never changes. */
    readonly code: number;
    /** Whether the same call may succeed later. After ConnectionLost of a write, look whether it happened. */
    readonly retriable: boolean;
    /** The server's own code (SQLSTATE, MySQL's number, SQLite's extended code), or an empty string. */
    readonly sqlState: string;
    /** The row that cannot be read, of a CorruptEvent about one. */
    readonly unreadable?: UnreadableEvent;
}

/** A row that cannot be read as an event: which one it is, and what stands there. */
export interface UnreadableEvent {
    /** Its id, for `skip`. */
    readonly id: bigint;
    /** The column that cannot be read. */
    readonly column: 'type' | 'data' | 'ts';
    /** The bytes of the type; null for NULL. */
    readonly type: Buffer | null;
    /** The bytes of the data; null for NULL. */
    readonly data: Buffer | null;
    /** The time stamp, as the database shows it. */
    readonly ts: string;
}

/** One event. */
export interface Event<Data = any> {
    /** Positive, increasing within a stream, with gaps. */
    readonly id: bigint;
    /** 1 to 16 of `A` to `Z` and `_`. */
    readonly type: string;
    /** The data, parsed once for a whole batch. JavaScript rounds integers beyond 2^53: see `raw`. */
    readonly data: Data;
    /** When it was added, by the clock of the database, in whole seconds. */
    readonly ts: Date;
    /**
     * The JSON text as it was written. It is cut from the text of the batch, which an event keeps in
     * memory as long as it lives: keep `raw` or `data` rather than many events.
     */
    readonly raw: string;
    /** `{id: '1', type, data, ts: '2017-07-14T02:40:00Z'}`; the id is a string. */
    toJSON(): { id: string; type: string; data: Data; ts: string };
}

/** For `instanceof`; events come from the library. */
export const Event: { prototype: Event };

/** A new event. */
export type NewEvent = readonly [type: string, data?: EventData] | { type: string; data?: EventData };

/** The SQL of an INSERT, with the placeholders of the database, and its parameters. */
export interface Statement {
    /** With `?`, or on PostgreSQL `$1` and `$2`. */
    sql: string;
    /** The type and the JSON text, to be bound as texts. */
    params: [type: string, json: string];
}

/**
 * The statement that adds an event, for a connection of your own (pg, mysql2, better-sqlite3, ...): the
 * event lives and dies with the transaction that it is run in. Of the options, `eventTable` and
 * `maxEventBytes` matter. Throws InvalidType, InvalidData, TooLarge.
 */
export function statement(
    kind: DatabaseKind | 'postgresql' | 'mariadb',
    type: string,
    data?: EventData,
    options?: Options,
): Statement;
