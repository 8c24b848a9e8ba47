/**
 * Events in your own SQL database: written in the transaction that made them true, delivered to every
 * registered consumer in order, none lost. README.md has the tour.
 *
 * What holds for everything here:
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

import { EventEmitter } from 'node:events';

/** The version of the library, for example `0.1.0`. */
export const version: string;

/** What can be written as JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What an event can carry: JSON, an object with `toJSON`, {@link rawJson}, undefined for null. */
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
    /** What went wrong. */
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

/** How far consumers are behind, and what holds the stream up. */
export interface Lag {
    /** The highest id ever allocated; null or 0 in an empty stream. */
    highestId: bigint | null;
    /** The first id that may still appear, if there is one. */
    firstUnsettled: bigint | null;
    /** Who may still fill it: id, since when, and what the server tells of it. */
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
     * What was made of it gives Closed then. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** The roles of docs/grants.md. */
export type Role = 'generator' | 'consumer' | 'archiver' | 'discarder';

/** One thing that `EventStream.doctor` has looked at. */
export interface Check {
    /** Its name, for example `clock`. */
    name: string;
    /** `unknown`: it could not be looked at, for the reason in `seen`. */
    status: 'ok' | 'unknown' | 'warning' | 'failure';
    /** What was seen. */
    seen: string;
    /** Why it matters. */
    why: string;
    /** The statement, or the option, that mends it. */
    remedy: string | null;
}

/** What `EventStream.verify` looks at. */
export interface VerifyOptions {
    /** The history that must be equal. */
    warehouse?: Warehouse;
    /** The first id; 1 without it. */
    fromId?: IdInput;
    /** The last id; the highest that was allocated without it. */
    toId?: IdInput;
    /** Most ids of each finding that are named (20). */
    examples?: number;
    /** After this time it reads no further, and `complete` is false. */
    timeoutMs?: number;
    /** Ends it; the promise is rejected with the signal's reason. */
    signal?: AbortSignal;
}

/** Something that is wrong. */
export interface VerifyFinding {
    kind:
        | 'changed'
        | 'not_archived'
        | 'lost_from_queue'
        | 'history_beyond'
        | 'cursor_beyond'
        | 'history_short'
        | 'duplicate'
        | 'id_outside'
        | 'unreadable'
        | (string & {});
    /** The kind in one sentence. */
    meaning: string;
    count: number;
    /** The first ids, and what was seen there. */
    examples: { id: bigint; detail: string }[];
}

/** What `EventStream.verify` found. The six counts make up the ids from `first` to `last`. */
export interface Verification {
    first: bigint;
    last: bigint;
    highestId: bigint;
    /** Whether all that was asked for was looked at; else go on from `last + 1n`. */
    complete: boolean;
    /** Events that are only in the event table. */
    inQueue: number;
    /** Events that are in both tables. */
    inBoth: number;
    /** Events that are only in the history. */
    inHistory: number;
    /** Ids whose transaction was rolled back. */
    neverCommitted: number;
    /** Ids without an event that every consumer has passed: discarded or rolled back. */
    gone: number;
    /** Ids whose transaction may still be open. */
    unsettled: number;
    /** Why no better evidence for what is settled could be had, and what helps. */
    blocked: string | null;
    /** What is wrong; empty if all is well. */
    findings: VerifyFinding[];
}

/** What can be bound to a statement. Integers go as integers, other numbers as floating point. */
export type SqlParam = null | boolean | number | bigint | string | Uint8Array;

/** The rows of a query, and the names of their columns. */
export interface SqlRows extends Array<SqlValue[]> {
    readonly columns: readonly string[];
}

/** What comes out of a query. An integer is a bigint where a number would round it. */
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

/** Where a consumer begins: an id or the next one that is there; a time, as a Date or in seconds since 1970. */
export type Start = 'beginning' | 'now' | { id: IdInput } | { time: Date | number };

/** A consumer that polls. */
export class Consumer {
    private constructor();
    readonly user: string;
    readonly component: string;
    /**
     * Registers, to begin with the first event that is still there; does nothing if it is registered.
     * Rejects with LiveNotAllowed, SecurityError, NotMigrated.
     */
    register(): Promise<void>;
    /** As `register`, to begin elsewhere. Rejects with InvalidLastId for an id beyond the next one. */
    registerAt(start: Start): Promise<void>;
    /** Forgets the consumer and its cursor; gives whether there was one. */
    unregister(): Promise<boolean>;
    /**
     * Gives the next events, an empty array if there are none in time. Rejects with NotRegistered,
     * InvalidLastId, InvalidType, UnsafeServer, and the signal's reason; with CorruptEvent if the next event
     * cannot be read (those before it came first), until it is corrected or passed over by `skip`.
     */
    poll<Data = any>(options?: PollOptions): Promise<Event<Data>[]>;
    /** Acknowledges every event up to this id. Rejects with NotRegistered, InvalidLastId. */
    acknowledge(lastId: IdInput): Promise<void>;
    /**
     * Passes over exactly this event, if it is the next one and cannot be read: acknowledges it. The
     * `unreadable` of the CorruptEvent that `poll` rejects with has its id and its content. Rejects with
     * InvalidArgument if another event, or none, is the next one, or if it can be read.
     */
    skip(id: IdInput): Promise<void>;
    /**
     * Events, one after the other, without an end: waits for more. An event is acknowledged when the
     * loop asks for the next one; that is stored at the end of a poll's events, every 100 ms, and when
     * the loop ends. The event at which the loop is left by `break` or an exception comes again.
     * Rejects as `poll`; with the signal's reason when that is aborted.
     */
    events<Data = any>(options?: { want?: Want; limit?: number; signal?: AbortSignal }): AsyncGenerator<Event<Data>, never, void>;
}

export interface PollOptions {
    /**
     * Acknowledges everything up to it. Not given: goes on at the stored cursor, which is what was
     * acknowledged last. LIVE: where this consumer is.
     */
    lastId?: IdInput | null;
    want?: Want;
    /** The most events, 1 or more; not given, and at most, as the option `max_chunk_events`. */
    limit?: number;
    /** How long to wait for the first event, in ms; Infinity waits for ever; 0 (not given) asks once. */
    timeoutMs?: number;
    /** Ends the wait within 30 ms. */
    signal?: AbortSignal;
}

/** For a subscription or a receiver; the other options are those of push in docs/options.md. */
export interface PushOptions {
    /** `app` if not given. */
    user?: string;
    want?: Want;
    [option: string]: any;
}

/** A group of events that was pushed. */
export interface Delivery<Data = any> {
    /** Counts from 0; a gap tells a LIVE subscriber that a group was skipped. */
    seq: number;
    events: Event<Data>[];
}

export interface SubscriptionStats {
    /** Events handed out. */
    delivered: number;
    /** LIVE: events skipped because too many waited. */
    skipped: number;
    /** Reliable: how often the queue was too small, so that events were read from the database. */
    overflows: number;
}

/** A consumer that is pushed to, and takes. */
export class Subscription implements AsyncIterable<Delivery> {
    private constructor();
    /**
     * Waits for the next delivery, up to `timeoutMs` (not given: for ever); null if there is none, or if
     * as many as the option `request_max` are not acknowledged. Rejects with Closed, NotRegistered,
     * Occupied, CorruptEvent, and the signal's reason; after any but Closed it may be called again.
     */
    next<Data = any>(options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<Delivery<Data> | null>;
    /** Acknowledges the oldest delivery that is not acknowledged. Rejects with InvalidArgument if there is none. */
    ack(): Promise<void>;
    /**
     * Passes over the event that the last CorruptEvent of `next` has named because it cannot be read; it
     * counts as acknowledged once everything before it is. Rejects with InvalidArgument if it is another one.
     */
    skip(id: IdInput): Promise<void>;
    stats(): SubscriptionStats;
    /** Deliveries without an end, each acknowledged when the loop asks for the next one. */
    deliveries<Data = any>(options?: { signal?: AbortSignal }): AsyncGenerator<Delivery<Data>, never, void>;
    [Symbol.asyncIterator](): AsyncGenerator<Delivery, never, void>;
    /** Ends waits with Closed or Cancelled, stores the cursor, and frees the name for others. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** What something of the library tells about itself. */
export interface Notice {
    /**
     * Receiver: Ready, NewEvents, WorkerError (the database; tried again, but a receiver whose
     * consumer was unregistered stops after NotRegistered, unless `reregister` is true), ReceiverError (a listener
     * failed), Skipped (`number` is the id), Stopped. Archiver: NewEvents, ProcessedEvents. Discarder:
     * Discarded, Expired (`text` is the consumer). Archiver and discarder: Waiting (because of `text`).
     */
    kind: string;
    /** How many events, or the id of the skipped one. */
    number: number | bigint;
    text: string;
    error: Error | undefined;
}

export interface ReceiverOptions extends PushOptions {
    /**
     * What to do about events that a listener fails on: `retry` (not given) brings them again for ever,
     * `stop` stops the receiver, `skipAfter` gives an event up that failed that many times alone.
     */
    poison?: 'retry' | 'stop' | { skipAfter: number };
}

/** How long to wait for an end. */
export interface WaitOptions {
    /** In ms; 0 only asks; not given, or Infinity: as long as it takes. */
    timeoutMs?: number;
    signal?: AbortSignal;
}

/** A listener to events: a promise that it gives is waited for. */
export type EventsListener = (events: Event[], delivery: { seq: number }) => unknown;

/**
 * What both receivers are. The first listener to `events` starts it, on the next tick; `start` does so
 * by hand. Deliveries come one at a time: the next one when all listeners have returned, and their
 * promises are resolved. If one throws or rejects, the same events come again, after a pause that grows.
 * Without a listener to `events` a delivery waits for one.
 *
 * `error` tells of failures that the receiver survives: of a listener, and of the database. Nothing is
 * thrown if nobody listens to it: then each different one comes once as a warning of the process.
 */
export interface Receiver extends EventEmitter {
    readonly user: string;
    readonly component: string;
    on(event: 'events', listener: EventsListener): this;
    on(event: 'ready', listener: () => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    on(event: 'notice', listener: (notice: Notice) => void): this;
    once(event: 'events', listener: EventsListener): this;
    once(event: 'ready', listener: () => void): this;
    once(event: 'error', listener: (error: Error) => void): this;
    once(event: 'notice', listener: (notice: Notice) => void): this;
    /** Whether its thread runs. */
    readonly running: boolean;
    /**
     * Starts the thread; does nothing if it is started. `ready` comes when it has registered and subscribed.
     * May follow a stop: one that is about to end is waited for, and begins anew.
     */
    start(): Promise<void>;
    /**
     * Stops after the delivery that is at work. Inside a listener it resolves at once, and that call is
     * the last. Rejects with Timeout, or the signal's reason, if a listener is still at work: it was
     * asked to end then, and the call may be repeated.
     */
    stop(options?: WaitOptions): Promise<void>;
    /** Stops, and frees the receiver. */
    close(): Promise<void>;
    stats(): SubscriptionStats & {
        /** Failed deliveries. */
        failures: number;
        /** Events that `skipAfter` gave up, up to 1000. */
        givenUp: number;
    };
    [Symbol.asyncDispose](): Promise<void>;
}

/** Gets every event from its cursor on, in order; registers by itself. One at a time for each consumer. */
export interface ReliableReceiver extends Receiver {}
export const ReliableReceiver: {
    /** Throws InvalidUser, InvalidComponent, InvalidType, InvalidOption, LiveNotAllowed. */
    new (stream: EventStream, component: string, options?: ReceiverOptions): ReliableReceiver;
};

/** Gets the events that come while it runs. */
export interface LiveReceiver extends Receiver {}
export const LiveReceiver: {
    new (stream: EventStream, options?: ReceiverOptions): LiveReceiver;
};

/** The database of all history; it may be of another kind than the stream's. */
export class Warehouse {
    private constructor();
    /** As {@link EventStream.open}. */
    static open(url: string, options?: Options): Promise<Warehouse>;
    /** From DB_EVTDWH_TYPE and so on: see {@link EventStream.fromEnv}. */
    static fromEnv(options?: Options): Promise<Warehouse>;
    readonly kind: DatabaseKind;
    /** Makes the table, or brings it up to date. */
    migrate(): Promise<void>;
    /** Archived events from this id on, that one included; at most `limit` (1000). Rejects with NotMigrated. */
    history<Data = any>(fromId?: IdInput, want?: Want, limit?: number): Promise<Event<Data>[]>;
    /** Reads all events of the stream from this id on, archived or not. Registers nothing. */
    replay(stream: EventStream, options?: { fromId?: IdInput; want?: Want }): Replay;
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** All history, and then the active events, as one. Iterating ends when there are no more now. */
export class Replay implements AsyncIterable<Event> {
    private constructor();
    /** The id up to which everything was given, or was not wanted. */
    readonly position: bigint;
    /**
     * The next events, at most `limit` (1000). Without a `timeoutMs`, an empty array if there are no more
     * now; with one it waits for the first, and may give an empty array although there are more behind
     * what is not wanted: `position` moves on.
     */
    next<Data = any>(limit?: number, options?: WaitOptions): Promise<Event<Data>[]>;
    [Symbol.asyncIterator](): AsyncGenerator<Event, void, void>;
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** What archiver, discarder and app have in common; `error` as of {@link Receiver}. */
export interface Worker extends EventEmitter {
    on(event: 'notice', listener: (notice: Notice) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    /** Stops, and frees it. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

/** Copies every event of the stream to the history, exactly once. One works for each stream. */
export interface Archiver extends Worker {
    /** Whether its thread runs. */
    readonly running: boolean;
    /** Starts the thread; does nothing if it is started. */
    start(): Promise<void>;
    /** Stops after the batch that it is at. Rejects with Timeout, or the signal's reason: it was asked to. */
    stop(options?: WaitOptions): Promise<void>;
    /** Archives what is settled now; gives how many events. Rejects with Occupied, HistoryConflict. */
    runOnce(): Promise<number>;
    /** The same, but begins no batch after this time; gives whether all was archived, too. */
    runFor(options?: WaitOptions): Promise<{ count: number; complete: boolean }>;
}
export const Archiver: {
    /** Of the options, `archiveBatch` matters. */
    new (stream: EventStream, warehouse: Warehouse, options?: Options): Archiver;
};

/** Deletes what every registered consumer has acknowledged; nothing while nobody is registered. */
export interface Discarder extends Worker {
    /** Whether its thread runs. */
    readonly running: boolean;
    /** Starts the thread; does nothing if it is started. */
    start(): Promise<void>;
    /** Stops after the statement that it is at. Rejects with Timeout, or the signal's reason: it was asked to. */
    stop(options?: WaitOptions): Promise<void>;
    /** Discards what may be discarded now; gives how many events. */
    runOnce(): Promise<number>;
    /** The same, but begins no statement after this time; gives whether all was discarded, too. */
    runFor(options?: WaitOptions): Promise<{ count: number; complete: boolean }>;
}
export const Discarder: {
    /** Of the options, `limitAtOnce`, `pollPeriodMs`, `requireArchiver`, `expireAfterS` matter. */
    new (stream: EventStream, options?: Options): Discarder;
};

/** Stream, warehouse, archiver and discarder from one configuration. */
export interface ServiceApp extends Worker {
    /** The app's stream: closed with the app. */
    readonly stream: EventStream;
    /** The app's warehouse; throws InvalidArgument if it has none. */
    readonly warehouse: Warehouse;
    /** Makes all tables, or brings them up to date. */
    migrate(): Promise<void>;
    /** Starts archiver and discarder; does nothing to one that is started. */
    start(): Promise<void>;
    /** Stops both; they may be started again. Rejects with Timeout, or the signal's reason: they were asked to. */
    stop(options?: WaitOptions): Promise<void>;
}
export const ServiceApp: {
    /**
     * Opens the stream, and the warehouse if there is a URL. The archiver is there with a warehouse,
     * unless `enableArchiver` is false; the discarder with `enableDiscarder`.
     */
    open(url: string, warehouseUrl?: string | null, options?: Options): Promise<ServiceApp>;
    /** From DB_EVT_... and, if there is a DB_EVTDWH_TYPE, DB_EVTDWH_...: see {@link EventStream.fromEnv}. */
    fromEnv(options?: Options): Promise<ServiceApp>;
};

export type LogLevel = 'off' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

/**
 * Sends the library's log, up to the level (`info`), to `handler`, in place of where it went before;
 * null for nowhere, as it is at first. One for the process, whichever worker thread sets it. Messages
 * come on the event loop; if more than 10000 wait for it, further ones are lost and counted.
 */
export function setLog(handler: ((level: LogLevel, message: string) => void) | null, level?: LogLevel): void;
