/** The results of `doctor` and `verify`. Part of ../index.d.ts. */
import type { IdInput } from './data.js';
import type { Warehouse } from './history.js';

/** The roles of docs/grants.md. */
export type Role = 'generator' | 'consumer' | 'archiver' | 'discarder';

/** One thing that `EventStream.doctor` has looked at. */
export interface Check {
    /** Its name, for example `clock`. */
    name: string;
    /** `unknown`: it could not be looked at, for the reason in `seen`. */
    status: 'ok' | 'unknown' | 'warning' | 'failure';
    /** The finding, in words. */
    seen: string;
    /** Why it matters. */
    why: string;
    /** The statement, or the option, that mends it. */
    remedy: string | null;
}

/** The range and the limits of `EventStream.verify`. */
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

/** The result of `EventStream.verify`. The six counts make up the ids from `first` to `last`. */
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
    /** Everything that is wrong; empty if all is well. */
    findings: VerifyFinding[];
}
