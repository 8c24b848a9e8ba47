/** Consumers, subscriptions and receivers. Part of ../index.d.ts. */
import { EventEmitter } from 'node:events';
import type { Event, IdInput, Want } from './data.js';
import type { EventStream } from '../index.js';

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

/** A report of a worker of the library. */
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
 * The common part of both receivers. The first listener to `events` starts it, on the next tick; `start` does so
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
