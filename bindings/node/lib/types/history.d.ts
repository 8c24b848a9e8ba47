/** The warehouse, replays, the archiver, the discarder and the service app. Part of ../index.d.ts. */
import { EventEmitter } from 'node:events';
import type { DatabaseKind, Event, IdInput, Options, Want } from './data.js';
import type { Notice, WaitOptions } from './reading.js';
import type { EventStream } from '../index.js';

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

/** The common part of archiver, discarder and app; `error` is emitted as by {@link Receiver}. */
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
    /** Uses the option `archiveBatch`. */
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
    /** Uses the options `limitAtOnce`, `pollPeriodMs`, `requireArchiver` and `expireAfterS`. */
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
