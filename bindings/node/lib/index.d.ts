/**
 * Events in your own SQL database: written in the transaction that made them true, delivered to every
 * registered consumer in order, none lost. README.md has the tour.
 *
 * These rules hold for everything here:
 *
 * - Every call that touches a database gives a Promise, and works on a thread of its own: neither the
 *   event loop nor libuv's threads wait. Each environment (main thread, worker thread) has objects of
 *   its own; they cannot be passed on.
 * - A failure is an {@link EventStreamError}. Each call names the kinds that matter; any call that
 *   touches a database may also give ConnectFailed, ConnectionLost, Busy, Conflict, Timeout,
 *   PermissionDenied, Database, and Closed after `close`. Every call gives InvalidArgument for an
 *   argument of a wrong type.
 * - Ids are bigint. Where an id goes in, a safe integer is taken, too.
 * - Pending calls, and started receivers, archivers, discarders and apps, keep the process alive. Open
 *   streams and subscriptions do not.
 */

import type { DatabaseKind, EventData, NewEvent, Options, Statement } from './types/data.js';
import type { Check, Role, Verification, VerifyOptions } from './types/checks.js';
import type { Consumer, PushOptions, Subscription } from './types/reading.js';
import type { Warehouse } from './types/history.js';

export * from './types/data.js';
export * from './types/checks.js';
export * from './types/reading.js';
export * from './types/history.js';

/** The version of the library, for example `0.1.0`. */
export const version: string;

/** How far consumers are behind, and what holds the stream up. */
export interface Lag {
    /** The highest id ever allocated; null or 0 in an empty stream. */
    highestId: bigint | null;
    /** The first id that may still appear, if there is one. */
    firstUnsettled: bigint | null;
    /** The transactions that may still fill it: their ids, their start, and the server's description. */
    holders: { id: string; since: unknown; application: unknown }[];
    /** Why nothing can be told of what is unsettled, and what helps. */
    blocked: string | null;
    /** Rows that consumers do not get, and why. */
    warnings: string[];
    consumers: {
        ident: string;
        lastId: bigint;
        eventsBehind: number;
        secondsBehind: number | null;
        secondsSinceSeen: number | null;
        secondsRegistered: number | null;
    }[];
}

/** A stream of events in one database. */
export class EventStream {
    private constructor();
    /**
     * Opens the stream in the database of the URL: `sqlite:file.db`, `sqlite:///absolute.db`,
     * `sqlite::memory:`, `postgres://user:password@host:port/database`, `mysql://...`. Changes no
     * schema. Rejects with InvalidUrl, InvalidOption, ConnectFailed; ForeignSqlite if anybody else in
     * this process has the SQLite file open.
     */
    static open(url: string, options?: Options): Promise<EventStream>;
    /**
     * As `open`, from the environment variables DB_EVT_TYPE, _HOST, _PORT, _SOCKET, _USER, _PASS, _DB,
     * _MAXCONN of the process (not of a worker thread's copy). Do not change `process.env` meanwhile.
     */
    static fromEnv(options?: Options): Promise<EventStream>;
    readonly kind: DatabaseKind;
    /** Makes the tables, or brings them up to date. Rejects with ForeignSchema, NewerSchema. */
    migrate(): Promise<void>;
    /**
     * Adds one event, and gives its id after the commit. Rejects with InvalidType, InvalidData,
     * TooLarge, NotMigrated. After ConnectionLost the event may or may not be there.
     */
    addEvent(type: string, data?: EventData): Promise<bigint>;
    /** Adds events in one transaction, all or none; gives their ids in the same order. */
    addEvents(events: Iterable<NewEvent>): Promise<bigint[]>;
    /**
     * Begins a transaction. It holds a connection until its end; on SQLite it is the only writer
     * meanwhile. Rejects with Busy.
     */
    begin(): Promise<Transaction>;
    /**
     * Runs `body` in a transaction, commits when it is done, and rolls back if it throws. Gives what
     * `body` gives.
     */
    transaction<Result>(body: (tx: Transaction) => Promise<Result> | Result): Promise<Result>;
    /** As the function {@link statement}, for the database and the options of this stream. */
    statement(type: string, data?: EventData): Statement;
    /**
     * A consumer; asks no database. `user` is `app` if not given; `LIVE` is the LIVE consumer. Throws
     * InvalidUser, InvalidComponent, IdentTooLong.
     */
    consumer(component: string, options?: { user?: string }): Consumer;
    /** The LIVE consumer: never registers, gets what comes from now on. */
    live(options?: { user?: string }): Consumer;
    /**
     * Subscribes a registered consumer, or `LIVE`. Further options are those of push. Rejects with
     * NotRegistered, Occupied, SecurityError, UnsafeServer.
     */
    subscribe(component: string, options?: PushOptions): Promise<Subscription>;
    /** How far each consumer is behind. */
    lag(): Promise<Lag>;
    /**
     * Looks at the database, its settings and the rights of this database user, before something is lost. All is well
     * where no `status` is `failure`. Of the `roles` that are named a missing right is a failure; without any, all are
     * looked at, and it is a warning. Changes nothing. Errors: InvalidArgument for another role, Closed.
     */
    doctor(options?: { warehouse?: Warehouse; roles?: Iterable<Role> }): Promise<Check[]>;
    /**
     * Accounts for every id: its event is in the event table, in the history, in both and equal; it was discarded or
     * never committed; or something is wrong. Reads both tables once, in bounded memory; others may write, archive
     * and discard meanwhile. Errors: NotMigrated, UnsafeServer, PermissionDenied, and those of both databases.
     */
    verify(options?: VerifyOptions): Promise<Verification>;
    /** Closes the stream when the calls on it have ended; where none has ended for 150 ms, they hang, and are ended.
     * Calls on the objects that were made of it fail with `Closed` then. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** A value that can be bound to a statement. Integers go as integers, other numbers as floating point. */
export type SqlParam = null | boolean | number | bigint | string | Uint8Array;

/** The rows of a query, and the names of their columns. */
export interface SqlRows extends Array<SqlValue[]> {
    readonly columns: readonly string[];
}

/** A value in the result of a query. An integer is a bigint where a number would round it. */
export type SqlValue = null | boolean | number | bigint | string | Buffer;

/**
 * A database transaction. Its calls run one after the other, in the order that they were made. One that
 * is lost without an end is rolled back by the garbage collector, with a warning.
 */
export class Transaction {
    private constructor();
    /** Whether `commit` or `rollback` was called. */
    readonly ended: boolean;
    /** Runs a statement with `?`, or `$1` on PostgreSQL; gives how many rows it touched. */
    execute(sql: string, params?: readonly SqlParam[]): Promise<number>;
    /** Runs a query and gives all its rows, each an array of its columns. */
    query(sql: string, params?: readonly SqlParam[]): Promise<SqlRows>;
    /** Adds an event that lives and dies with the transaction. */
    addEvent(type: string, data?: EventData): Promise<bigint>;
    /** Adds events. After an error some may have been added: roll back. */
    addEvents(events: Iterable<NewEvent>): Promise<bigint[]>;
    /** Rejects with Conflict, Closed. After ConnectionLost it may or may not have happened. */
    commit(): Promise<void>;
    /** Undoes everything; does nothing after an end. */
    rollback(): Promise<void>;
    /** Rolls back, unless it has ended. */
    [Symbol.asyncDispose](): Promise<void>;
}

export type LogLevel = 'off' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

/**
 * Sends the library's log, up to the level (`info`), to `handler`, in place of where it went before;
 * null for nowhere, as it is at first. One for the process, whichever worker thread sets it. Messages
 * come on the event loop; if more than 10000 wait for it, further ones are lost and counted.
 */
export function setLog(handler: ((level: LogLevel, message: string) => void) | null, level?: LogLevel): void;
