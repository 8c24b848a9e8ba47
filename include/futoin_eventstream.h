/**
 * @file
 * futoin-eventstream: events in your own SQL database (SQLite, PostgreSQL, MySQL, MariaDB), written in
 * the transaction that made them true, delivered to every registered consumer in order, none lost.
 *
 * This header is generated from src/ffi (tests/it/c/header): do not edit it.
 *
 * A walk through
 * --------------
 *
 *     fes_error *err = NULL;
 *     fes_stream *stream = NULL;
 *     if (fes_stream_open("sqlite:app.db", NULL, &stream, &err) != FES_OK) {
 *         fprintf(stderr, "%s: %s\n", fes_error_name(err), fes_error_message(err));
 *         fes_error_free(err);
 *         return 1;
 *     }
 *     fes_stream_migrate(stream, NULL);                                      (errors left out from here)
 *     fes_consumer *audit = NULL;
 *     fes_consumer_open(stream, "app", "Audit", &audit, NULL);
 *     fes_consumer_register(audit, NULL);
 *     uint64_t id;
 *     fes_stream_add_event(stream, "USR_ADD", "{\"id\":1}", 8, &id, NULL);
 *     fes_events *events = NULL;
 *     fes_consumer_poll(audit, NULL, NULL, 0, 100, 1000, NULL, &events, NULL);  (waits up to 1 s)
 *     for (size_t i = 0; i < fes_events_count(events); i++) {
 *         const fes_event *event = fes_events_get(events, i);
 *         printf("%llu %s %s\n", (unsigned long long)event->id, event->type, event->data);
 *         fes_consumer_acknowledge(audit, event->id, NULL);
 *     }
 *     fes_events_free(events);
 *     fes_consumer_close(audit);
 *     fes_stream_close(stream);
 *
 * An event with the change that it tells of: fes_stream_begin, fes_tx_execute, fes_tx_add_event,
 * fes_tx_commit; or fes_event_statement on a connection of your own. Events as they come:
 * fes_stream_subscribe (you ask) or fes_receiver_open (you are called). All history: fes_warehouse_open,
 * fes_archiver_open, fes_discarder_open, or all at once fes_app_open. examples/c has a program for each.
 *
 * What holds for every function
 * -----------------------------
 *
 * - A function that can fail returns a fes_status and takes `err` last: NULL, or a place that is set to
 *   NULL, and after a failure to an error that the caller frees. There is no thread-local state.
 * - A place for a result is set to NULL or 0 first, and written on success only. `out` gets a handle that is
 *   the caller's, to be freed by the function that its type names. Free and close take NULL.
 * - NULL for anything that must be there, text that is not UTF-8, impossible lengths and unknown enumerators
 *   give FES_INVALID_ARGUMENT. Enumerators go in as uint32_t. Times are in milliseconds, sizes in bytes.
 * - What goes in is copied, unless it is said to be borrowed. Text that comes out has a NUL at its end, and
 *   lives as long as the handle that it belongs to.
 * - Every function may be called from any thread, and every handle used by several threads at once. The
 *   exception is the function that frees a handle: nobody may use that handle then, or later.
 * - "Those of the database" are FES_CONNECT_FAILED, FES_CONNECTION_LOST, FES_BUSY, FES_CONFLICT,
 *   FES_TIMEOUT, FES_PERMISSION_DENIED, FES_DATABASE. FES_CLOSED comes after fes_stream_close, and
 *   FES_PANIC, FES_INTERNAL after a defect, from any function.
 *
 * What stays as it is
 * -------------------
 *
 * A program works with every later library of the same SONAME: functions, numbers of enumerators, and fields
 * of structures are added and never changed or taken away (tests/abi has what each version declared, and a test
 * compares). fes_event and fes_value stay as they are; fes_new_event may get longer, so it goes in with its
 * size. Enumerators and notices may come that a program does not know: it should pass over them.
 * fes_abi_version tells how much a library has, fes_features what is built into it.
 *
 * Waits, and what ends them
 * -------------------------
 *
 * Waits for events, for the end of a thread, and runs that may be long take a time in milliseconds (or
 * FES_FOREVER) and a cancel token, which any thread, a callback or a signal handler may cancel:
 * fes_consumer_poll, fes_subscription_next and every function whose name ends in _for. Their namesakes
 * without _for wait as long as it takes.
 *
 * Event loops need no thread for a wait: fes_subscription_fd gives a descriptor for poll, epoll, libuv, GLib or
 * asyncio, which is readable while there is something to take.
 *
 * A call on a server that does not answer ends within 200 ms after its token is cancelled, or its time to stop is
 * over; the connection is given up. What else bounds calls:
 *
 * - on a server, the option call_timeout_ms (30 s), also from one that accepts everything and says nothing:
 *   FES_TIMEOUT, or FES_CONNECTION_LOST for a write that may or may not have happened. Not over a Unix socket of
 *   PostgreSQL, whose server is asked to end statements by itself (statement_timeout);
 * - for a connection, connect_timeout_ms: for a free one of the pool, and for a new one up to the answer
 *   to the password;
 * - for another writer of a SQLite file, busy_timeout_ms;
 * - for locks on a server, its own settings, for example by ALTER ROLE: lock_timeout on PostgreSQL,
 *   innodb_lock_wait_timeout on MySQL and MariaDB;
 * - for a host that is gone, the keepalive of TCP (keepalive_idle_s and the others), 19 s.
 *
 * A stop without a time waits for a server that does not answer as long as call_timeout_ms. Any call ends within
 * 200 ms after fes_stream_shutdown, or fes_warehouse_shutdown, in another thread.
 *
 * Threads that the library makes
 * ------------------------------
 *
 * For each stream one while somebody subscribes (fes-hub), for moments one while a connection is made
 * (fes-connect), and one with the option notify (fes-listen). One for each started receiver (fes-receiver),
 * archiver (fes-archiver, and fes-archive-rd for moments) and discarder (fes-discarder). For each lease on a server,
 * of a subscription, receiver or archiver, one that looks after it (fes-lease); for a subscription whose next call
 * does not wait as long as a server may take, one that reads for it (fes-catch-up, up to a second longer); for a cancel
 * token while calls use it, one that ends them (fes-cancel). For each stream and warehouse on MySQL or MariaDB, one
 * that ends calls which take longer than call_timeout_ms (fes-deadline). For each consumer while it polls a
 * backlog, one that stores its cursor and reads the next events (fes-consumer, up to a second longer). All end when what they belong to is closed. They block no signals:
 * block those that are to be handled elsewhere before the first call, as the threads inherit that.
 *
 * No call and no thread of the library raises SIGPIPE: it is blocked in the thread while a driver writes
 * to a server, and the mask is as it was when the call returns and inside callbacks.
 *
 * Stack, memory, cancelled threads
 * --------------------------------
 *
 * - A call needs 48 KiB of stack and gives FES_OUT_OF_RESOURCES where less is left; what closes or frees is done
 *   by another thread then. Measured were 20 KiB at most: 19 with SQLite and PostgreSQL, 20 with MySQL and
 *   MariaDB, with TLS and without. A library that is built without optimization needs 256 KiB. On stacks that
 *   are not the thread's own, as those of coroutines, nothing is checked.
 *   Threads of the library have 2 MiB.
 * - Where the system gives no thread, no descriptor, or no memory for the copy of a text that goes in or for
 *   the JSON of events, a call gives FES_OUT_OF_RESOURCES. Other memory that is refused ends the process
 *   (abort), with a line on the standard error. Nothing else of the library writes there.
 * - pthread_cancel takes effect when the call has returned (on Linux): end the call by its cancel token or its
 *   time. Callbacks on the thread of a call, of run_once and run_for, are not cancelled either.
 *
 * Order of shutdown
 * -----------------
 *
 * Cancel waits and join your own threads; close receivers, archivers, discarders and apps; close
 * subscriptions, consumers, replays and transactions; close streams and warehouses. Another order crashes
 * nothing: a handle keeps alive what it needs, and gives FES_CLOSED. Close everything before main returns
 * and before dlclose; the library must not be unloaded while a thread of it runs.
 *
 * Callbacks, signal handlers, fork
 * --------------------------------
 *
 * Callbacks come from threads of the library, or, for what run_once and run_for tell, from the thread that
 * called these. What they may call:
 *
 * - fes_on_events (also of LIVE) and fes_on_notice (of every kind): every function, but not the close of the
 *   handle that they are of. Stopping that handle asks its thread to end and returns at once; running the
 *   archiver again gives FES_INVALID_ARGUMENT, running the discarder again works; setting up or starting a
 *   started receiver is refused as it is elsewhere.
 * - Two callbacks that stop each other's handle do not wait for each other.
 * - fes_on_destroy: every function, but none of the handle that its user data was of.
 * - fes_on_log: fes_cancel_token_..., fes_status_name, fes_error_...; what gives a fes_status is refused with
 *   FES_INVALID_ARGUMENT. It must close and free nothing.
 *
 * No exception and no longjmp may leave one. The user data that a callback is called with is destroyed by the
 * fes_on_destroy that was given with it (or NULL), exactly once, when nothing needs it any more.
 *
 * A signal handler may call fes_cancel_token_cancel, fes_cancel_token_is_cancelled and fes_status_name, nothing else.
 *
 * After fork the child must not use a handle of the parent: connections would be shared, and SQLite's locks
 * be lost. Closing one does nothing there, so that a child may exit with its atexit handlers and the
 * destructors of static objects.
 * It may exec, or open handles of its own if it was forked before the parent opened any.
 *
 * SQLite
 * ------
 *
 * The library has a SQLite inside. Two of them in one process break each other's locks on a file, so
 * opening gives FES_FOREIGN_SQLITE if anybody else in this process has the file open. Add events with
 * fes_event_statement on that connection instead. The static library that make installs defines the
 * functions fes_... and no others: the program's own SQLite stays the program's.
 *
 * The SQL of your own transactions runs with SQLite's ordinary defaults: foreign keys are not enforced, and
 * triggers are not recursive. The option sqlite_foreign_keys enforces them. (A PRAGMA foreign_keys does
 * nothing inside a transaction.)
 */


#ifndef FUTOIN_EVENTSTREAM_H
#define FUTOIN_EVENTSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header: see `fes_version`. */
#define FES_VERSION "0.1.0"
/** A part of it. */
#define FES_VERSION_MAJOR 0
/** A part of it. */
#define FES_VERSION_MINOR 1
/** A part of it. */
#define FES_VERSION_PATCH 0

/**
 * The version of what this header declares. Raised when functions are added. Not comparable
 * between SONAMEs.
 */
#define FES_ABI_VERSION 1

/**
 * The value of `timeout_ms` for no time limit.
 */
#define FES_FOREVER 4294967295

/**
 * What a call came to. The numbers never change and are never used again for something else; new
 * ones may be added, so a `switch` needs a `default`. `fes_status_name` gives a name.
 */
enum fes_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It was done.
     */
    FES_OK = 0,
    /**
     * An event type that is not 1 to 16 of `A` to `Z` and `_`.
     */
    FES_INVALID_TYPE = 1,
    /**
     * Event data that is not JSON, or that the server cannot hold.
     */
    FES_INVALID_DATA = 2,
    /**
     * An event above the option `max_event_bytes`.
     */
    FES_TOO_LARGE = 3,
    /**
     * A component that is not 1 to 16 letters, digits and `_`.
     */
    FES_INVALID_COMPONENT = 4,
    /**
     * A user that is empty or holds something else than printable ASCII without `:`.
     */
    FES_INVALID_USER = 5,
    /**
     * `user:component` is longer than 64 characters.
     */
    FES_IDENT_TOO_LONG = 6,
    /**
     * An id that is no event id, or above the highest one that was ever allocated.
     */
    FES_INVALID_LAST_ID = 7,
    /**
     * An unknown option, or a value of one that makes no sense.
     */
    FES_INVALID_OPTION = 8,
    /**
     * A database URL that cannot be understood.
     */
    FES_INVALID_URL = 9,
    /**
     * Another argument that makes no sense: NULL where something must be, text that is not UTF-8,
     * an impossible length, an unknown enumerator.
     */
    FES_INVALID_ARGUMENT = 10,
    /**
     * The consumer is not registered.
     */
    FES_NOT_REGISTERED = 20,
    /**
     * The component `LIVE` cannot do this.
     */
    FES_LIVE_NOT_ALLOWED = 21,
    /**
     * The options of the stream forbid this.
     */
    FES_SECURITY_ERROR = 22,
    /**
     * The server refused; the message names the privilege that is missing.
     */
    FES_PERMISSION_DENIED = 23,
    /**
     * Another receiver of the same consumer is at work, here or in another process. Retriable.
     */
    FES_OCCUPIED = 24,
    /**
     * No connection: address, password, TLS, or none free in time. Retriable.
     */
    FES_CONNECT_FAILED = 30,
    /**
     * The connection broke; a write may or may not have happened. Retriable.
     */
    FES_CONNECTION_LOST = 31,
    /**
     * Somebody else held a lock for too long. Retriable.
     */
    FES_BUSY = 32,
    /**
     * The server undid the transaction because of another one. Retriable, from its beginning.
     */
    FES_CONFLICT = 33,
    /**
     * The call did not end in the time it was given. Retriable.
     */
    FES_TIMEOUT = 34,
    /**
     * The process has no descriptor, thread or memory left for the call. Retriable.
     */
    FES_OUT_OF_RESOURCES = 35,
    /**
     * The transaction was ended behind its handle: by COMMIT, ROLLBACK or DDL in the caller's own SQL.
     */
    FES_TRANSACTION_ENDED = 36,
    /**
     * The tables are missing: call `fes_stream_migrate` or `fes_warehouse_migrate`.
     */
    FES_NOT_MIGRATED = 40,
    /**
     * Tables of these names exist, but they are something else.
     */
    FES_FOREIGN_SCHEMA = 41,
    /**
     * The tables were made by a newer version.
     */
    FES_NEWER_SCHEMA = 42,
    /**
     * The server, as it is set up, cannot keep the promise of order without loss.
     */
    FES_UNSAFE_SERVER = 43,
    /**
     * Somebody else in this process has the SQLite file open.
     */
    FES_FOREIGN_SQLITE = 44,
    /**
     * A row that cannot be read as an event.
     */
    FES_CORRUPT_EVENT = 45,
    /**
     * The history has another event of the same id.
     */
    FES_HISTORY_CONFLICT = 46,
    /**
     * The stream lost events or began anew: a restore, a failover that lost commits, TRUNCATE. Reading
     * goes on from the stored cursor, or from the beginning where that is lower. Retriable.
     */
    FES_STREAM_REWOUND = 47,
    /**
     * An event appeared below ids that were settled before: its id was allocated, or given, before its
     * INSERT. Consumers that have passed over it will not get it.
     */
    FES_LATE_EVENT = 48,
    /**
     * The caller's own statement violated a constraint.
     */
    FES_CONSTRAINT = 50,
    /**
     * The database refused a statement for another reason.
     */
    FES_DATABASE = 51,
    /**
     * The stream, the subscription or the transaction has ended.
     */
    FES_CLOSED = 60,
    /**
     * A cancel token ended the wait.
     */
    FES_CANCELLED = 70,
    /**
     * A defect of this library.
     */
    FES_INTERNAL = 99,
    /**
     * A defect of this library that was caught at the C boundary. The handles of the call should
     * only be closed.
     */
    FES_PANIC = 100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_status fes_status;
#else
typedef uint32_t fes_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kinds of a `fes_value`.
 */
enum fes_value_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * SQL `NULL`.
     */
    FES_VALUE_NULL = 0,
    /**
     * A boolean: `number` is 0 or 1.
     */
    FES_VALUE_BOOL = 1,
    /**
     * A signed integer: `number`.
     */
    FES_VALUE_INT = 2,
    /**
     * An unsigned integer: `number` holds its bits, `(int64_t)value`.
     */
    FES_VALUE_UINT = 3,
    /**
     * A floating point number: `real`.
     */
    FES_VALUE_REAL = 4,
    /**
     * UTF-8 text: `bytes` and `len`. On PostgreSQL it may stand for any type with a text form.
     */
    FES_VALUE_TEXT = 5,
    /**
     * Bytes: `bytes` and `len`.
     */
    FES_VALUE_BYTES = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_value_kind fes_value_kind;
#else
typedef uint32_t fes_value_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kinds of databases.
 */
enum fes_database_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * SQLite.
     */
    FES_KIND_SQLITE = 1,
    /**
     * PostgreSQL.
     */
    FES_KIND_POSTGRES = 2,
    /**
     * MySQL and MariaDB.
     */
    FES_KIND_MYSQL = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_database_kind fes_database_kind;
#else
typedef uint32_t fes_database_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a consumer begins.
 */
enum fes_start
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * With the first event that is still there.
     */
    FES_START_BEGINNING = 0,
    /**
     * With what is committed from now on.
     */
    FES_START_NOW = 1,
    /**
     * With the event of the id `value`, or the next one that is there.
     */
    FES_START_ID = 2,
    /**
     * With the first event of the time `value` (seconds since 1970) or later.
     */
    FES_START_TIME = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_start fes_start;
#else
typedef uint32_t fes_start;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a notice is about.
 */
enum fes_notice
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Receiver: registered and subscribed, events come from now on.
     */
    FES_NOTICE_READY = 1,
    /**
     * Receiver, archiver: `number` events came, and are worked on next.
     */
    FES_NOTICE_NEW_EVENTS = 2,
    /**
     * Archiver: `number` events are in the history and acknowledged.
     */
    FES_NOTICE_PROCESSED_EVENTS = 3,
    /**
     * Discarder: `number` events were deleted.
     */
    FES_NOTICE_DISCARDED = 4,
    /**
     * Discarder: the consumer `text` was not seen for `expire_after_s`, and was unregistered.
     */
    FES_NOTICE_EXPIRED = 5,
    /**
     * Archiver, discarder: it does nothing for now, because of `text`.
     */
    FES_NOTICE_WAITING = 6,
    /**
     * The library or the stream's database failed, with `error`; it will be tried again. Only a receiver
     * whose consumer was unregistered by somebody (`FES_NOT_REGISTERED`) ends after it, unless the option
     * `reregister` is `true`.
     */
    FES_NOTICE_WORKER_ERROR = 7,
    /**
     * The callback (`text`), or the archiver's warehouse (`error`), failed; it will be tried again.
     */
    FES_NOTICE_RECEIVER_ERROR = 8,
    /**
     * Receiver: the event `number` was given up; `text` is the callback's last error.
     */
    FES_NOTICE_SKIPPED = 9,
    /**
     * It has ended, by `stop` or with `error`.
     */
    FES_NOTICE_STOPPED = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_notice fes_notice;
#else
typedef uint32_t fes_notice;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a receiver does about events that its callback fails on, again and again.
 */
enum fes_poison_policy
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Brings them again for ever, with a back-off. The default: nothing passes unprocessed.
     */
    FES_POISON_RETRY = 0,
    /**
     * Stops the receiver at the first failure; the cursor stays before the delivery.
     */
    FES_POISON_STOP = 1,
    /**
     * After `count` failures brings the events one by one, and skips one that fails `count` times
     * alone, with `FES_NOTICE_SKIPPED`.
     */
    FES_POISON_SKIP_AFTER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_poison_policy fes_poison_policy;
#else
typedef uint32_t fes_poison_policy;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How bad it is.
 */
enum fes_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing at all.
     */
    FES_LOG_OFF = 0,
    /**
     * Something was given up.
     */
    FES_LOG_ERROR = 1,
    /**
     * Something failed and will be tried again.
     */
    FES_LOG_WARN = 2,
    /**
     * What an operator may want to know.
     */
    FES_LOG_INFO = 3,
    /**
     * What a developer may want to know, of TLS and the pool of connections, too.
     */
    FES_LOG_DEBUG = 4,
    /**
     * Everything of the library's own.
     */
    FES_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_log_level fes_log_level;
#else
typedef uint32_t fes_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What is built into the library: see `fes_features`. Later versions may have further ones.
 */
enum fes_feature
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Streams and warehouses in SQLite.
     */
    FES_FEATURE_SQLITE = 1,
    /**
     * Streams and warehouses in PostgreSQL.
     */
    FES_FEATURE_POSTGRES = 2,
    /**
     * Streams and warehouses in MySQL and MariaDB.
     */
    FES_FEATURE_MYSQL = 4,
    /**
     * TLS to servers. Without it every URL that asks for TLS is refused.
     */
    FES_FEATURE_TLS = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fes_feature fes_feature;
#else
typedef uint32_t fes_feature;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Stream, archiver and discarder from one configuration. Any number of threads may use one at once.
 * Close it with `fes_app_close`.
 */
typedef struct fes_app fes_app;

/**
 * Copies every event of a stream to the history of a warehouse, exactly once: the consumer
 * `-internal:ARCHIVER`. One works for each stream; another one waits, and takes over. Any number of
 * threads may use the handle at once. Close it with `fes_archiver_close`.
 */
typedef struct fes_archiver fes_archiver;

/**
 * Ends waits: every call that was given the token returns `FES_CANCELLED` within 30 ms, and so do
 * later ones; within 200 ms where a server does not answer, whose connection is given up. Any number
 * of calls may share one. It must not be freed while a call uses it.
 */
typedef struct fes_cancel_token fes_cancel_token;

/**
 * A consumer of a stream, which polls. Any number of threads may use one at once, although one
 * cursor makes sense for one at a time. Close it with `fes_consumer_close`.
 */
typedef struct fes_consumer fes_consumer;

/**
 * Deletes from the event table what every registered consumer has acknowledged; nothing, while
 * nobody is registered. Any number of them may run, and any number of threads may use the handle at
 * once. Close it with `fes_discarder_close`.
 */
typedef struct fes_discarder fes_discarder;

/**
 * Why a call failed. Belongs to the caller, who frees it with `fes_error_free`; the one that a
 * callback gets belongs to the library and ends with the callback. It does not change, so any
 * number of threads may look at it.
 */
typedef struct fes_error fes_error;

/**
 * A batch of events in order of their ids. Belongs to the caller, who frees it with
 * `fes_events_free`; the one that a callback gets belongs to the library and ends with the
 * callback. It does not change, so any number of threads may read it.
 */
typedef struct fes_events fes_events;

/**
 * Options that differ from their defaults. Every call that takes one copies it, so it may be
 * freed, or changed for the next call, at once. `docs/options.md` lists the options.
 */
typedef struct fes_options fes_options;

/**
 * A consumer that is called back from a thread of its own. Made by `fes_receiver_open`, set up by
 * `fes_receiver_set_...`, begun by `fes_receiver_start`, ended by `fes_receiver_stop` and
 * `fes_receiver_close`. Any number of threads may use one at once.
 */
typedef struct fes_receiver fes_receiver;

/**
 * Reads all history and goes on with the active events, as one stream. Threads that use one at once
 * wait for each other. Close it with `fes_replay_close`.
 */
typedef struct fes_replay fes_replay;

/**
 * The rows of a query. Belongs to the caller, who frees it with `fes_rows_free`. It does not
 * change, so any number of threads may read it.
 */
typedef struct fes_rows fes_rows;

/**
 * The SQL of an `INSERT` and its two parameters. Belongs to the caller, who frees it with
 * `fes_statement_free`. It does not change.
 */
typedef struct fes_statement fes_statement;

/**
 * A stream of events in one database, with its pool of connections. Any number of threads may use
 * one at once. Close it with `fes_stream_close`.
 */
typedef struct fes_stream fes_stream;

/**
 * A consumer that is pushed to: a thread of the stream fills a bounded queue, and
 * `fes_subscription_next` takes from it. Threads that call `next` on one at once take turns: each
 * delivery goes to one of them. Close it with `fes_subscription_close`.
 */
typedef struct fes_subscription fes_subscription;

/**
 * A text that a call made, for example JSON. It does not change.
 */
typedef struct fes_text fes_text;

/**
 * A database transaction: the caller's own changes and their events, together or not at all. It
 * holds one connection of the stream until it ends; on SQLite it is the only writer meanwhile.
 * Threads that use one at once wait for each other. Free it with `fes_tx_free`.
 */
typedef struct fes_tx fes_tx;

/**
 * The database that keeps all history; it may be of another kind than the stream's. Any number of
 * threads may use one at once. Close it with `fes_warehouse_close`.
 */
typedef struct fes_warehouse fes_warehouse;

/**
 * A row that cannot be read as an event: which one it is, and what stands there. Belongs to the
 * `fes_error` that tells of it. This structure stays as it is.
 */
typedef struct {
    /**
     * Its id.
     */
    uint64_t id;
    /**
     * The column that cannot be read: `type`, `data` or `ts`.
     */
    const char *column;
    /**
     * The bytes of the type, with a NUL at their end; NULL if the database has NULL there.
     */
    const char *type;
    /**
     * Bytes of the type without the NUL at the end.
     */
    size_t type_len;
    /**
     * The bytes of the data, with a NUL at their end; NULL if the database has NULL there.
     */
    const char *data;
    /**
     * Bytes of the data without the NUL at the end.
     */
    size_t data_len;
    /**
     * The time stamp as the database shows it, with a NUL at its end.
     */
    const char *ts;
} fes_unreadable;

/**
 * One event. The texts belong to the `fes_events` that it is in. This structure stays as it is: what
 * later versions tell of an event comes by further functions of `fes_events`.
 */
typedef struct {
    /**
     * Positive, increasing within a stream, gaps allowed, below 10^18.
     */
    uint64_t id;
    /**
     * The type, with a NUL at its end.
     */
    const char *type;
    /**
     * Bytes of the type without the NUL.
     */
    size_t type_len;
    /**
     * The JSON text as it was written, with a NUL at its end.
     */
    const char *data;
    /**
     * Bytes of the data without the NUL.
     */
    size_t data_len;
    /**
     * When it was added, by the clock of the database: seconds since 1970-01-01T00:00:00Z.
     */
    int64_t ts;
} fes_event;

/**
 * One SQL value: a bound parameter, or a column of a row. What its kind does not name is ignored.
 * This structure stays as it is: later versions may have further kinds.
 */
typedef struct {
    /**
     * A `fes_value_kind`.
     */
    uint32_t kind;
    /**
     * Of a boolean or an integer.
     */
    int64_t number;
    /**
     * Of a floating point number.
     */
    double real;
    /**
     * Of a text or bytes. In a row a NUL follows.
     */
    const char *bytes;
    /**
     * Bytes of a text or bytes.
     */
    size_t len;
} fes_value;

/**
 * An event to be added. Later versions may have more fields, behind these: calls that take an array are
 * told the size of one. Set all fields that you do not name to zero, as C's initializers do.
 */
typedef struct {
    /**
     * The type, ended by a NUL: 1 to 16 of `A` to `Z` and `_`.
     */
    const char *type;
    /**
     * JSON text; NULL with a length of 0 means `null`.
     */
    const char *data;
    /**
     * Bytes of the data.
     */
    size_t data_len;
} fes_new_event;

/**
 * Called with every delivery, from the receiver's own thread, one at a time. May call every function
 * but `fes_receiver_close` of its own receiver; `fes_receiver_stop` of it returns at once there, and
 * the call is the last. Where two callbacks stop each other's receiver at the same time, the second
 * one does not wait. No C++ exception may leave it.
 *
 * @param user the `user_data` of `fes_receiver_open`
 * @param seq the delivery's number, from 0; a gap tells a LIVE receiver that a group was skipped
 * @param events the events, which end with the call
 * @return 0 to acknowledge, anything else to get the same events again: `fes_events_refuse` tells why
 */
typedef int32_t (*fes_on_events)(void *user,
                                 uint64_t seq,
                                 const fes_events *events);

/**
 * Called with the `user_data` of a callback once nothing calls it with that any more, exactly once: when
 * another callback took its place, or its handle was closed, before that call returns if no callback is
 * at work then, else after the last one; also when the function that was given both fails. It may come
 * from any thread. In a child of fork, where closing does nothing, it is not called.
 *
 * It may call every function but those of the handle that it belonged to. No C++ exception may leave it.
 *
 * @param user the `user_data`
 */
typedef void (*fes_on_destroy)(void *user);

/**
 * Called for every notice, from the thread of what it is about, one at a time; those of
 * `fes_archiver_run_once` and its like come from the thread that called it. It must not block for long.
 *
 * It must not close the handle it is about. Every other function may be called, with these
 * differences for that handle: `stop`, `stop_for` and `fes_app_stop_for` ask the thread to end and do
 * not wait for it; `fes_archiver_run_once` and `_run_for` give `FES_INVALID_ARGUMENT`;
 * `start` does nothing, except that inside `FES_NOTICE_STOPPED` it begins anew; `fes_receiver_set_...` do
 * as in every receiver that is started; `set_on_notice` counts from the next notice on.
 *
 * @param user the `user_data` that it was set with
 * @param notice a `fes_notice`, which tells what the others mean
 * @param number of events, or an id; 0 if there is none
 * @param text never NULL, empty if there is none; it ends with the call
 * @param error NULL if there is none; it ends with the call
 */
typedef void (*fes_on_notice)(void *user,
                              uint32_t notice,
                              uint64_t number,
                              const char *text,
                              const fes_error *error);

/**
 * Called with every message of the level that was asked for, from any thread, also from several at
 * once. No message of any level shows event data, parameters, statements or passwords; what the
 * database drivers say is left out, because it does. It must not block for long, and must close and
 * free nothing. Functions that return a `fes_status` give `FES_INVALID_ARGUMENT` there and do nothing;
 * those of tokens, statuses and errors may be called.
 *
 * @param user the `user_data` of `fes_log_set`
 * @param level a `fes_log_level`
 * @param message the text, ended by a NUL; it ends with the call
 */
typedef void (*fes_on_log)(void *user,
                           uint32_t level,
                           const char *message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status. May be called from a signal handler.
 *
 * @param status a `fes_status`
 * @return a constant text, for example `NotRegistered`; `Unknown` for a number that is none
 */
const char *fes_status_name(uint32_t status);

/**
 * Makes an error, for the caller's own tests of how it takes one.
 *
 * @param code a `fes_status` other than `FES_OK`
 * @param message what went wrong, ended by a NUL; it is copied
 * @return the error, to be freed with `fes_error_free`; NULL if the code is unknown, or the
 *   message NULL or not UTF-8
 */
fes_error *fes_error_new(uint32_t code,
                         const char *message);

/**
 * The status of an error.
 *
 * @param error NULL, or the error
 * @return its status; `FES_OK` for NULL
 */
fes_status fes_error_code(const fes_error *error);

/**
 * The name of the status of an error: see `fes_status_name`.
 *
 * @param error NULL, or the error
 * @return a constant text; `Ok` for NULL
 */
const char *fes_error_name(const fes_error *error);

/**
 * What went wrong and what to do.
 *
 * @param error NULL, or the error, to which the text belongs
 * @return UTF-8 text, ended by a NUL; empty for NULL
 */
const char *fes_error_message(const fes_error *error);

/**
 * The server's own code: SQLSTATE on PostgreSQL, the error number on MySQL and MariaDB, the
 * extended result code on SQLite.
 *
 * @param error NULL, or the error, to which the text belongs
 * @return the code, ended by a NUL; empty if there is none, and for NULL
 */
const char *fes_error_sql_state(const fes_error *error);

/**
 * Whether the same call may succeed later without a change by the caller. After
 * `FES_CONNECTION_LOST` of a write, look first whether it happened.
 *
 * @param error NULL, or the error
 * @return whether it may; false for NULL
 */
bool fes_error_is_retriable(const fes_error *error);

/**
 * The row that could not be read, of an error `FES_CORRUPT_EVENT` about one.
 *
 * @param error NULL, or the error
 * @return the row, which belongs to the error; NULL if there is none
 */
const fes_unreadable *fes_error_unreadable(const fes_error *error);

/**
 * Frees an error.
 *
 * @param error NULL, or the error
 */
void fes_error_free(fes_error *error);

#if defined(FES_SELFTEST)
/**
 * Panics inside the boundary, to prove that it is caught. Only with the feature `selftest`.
 *
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_PANIC`
 */
fes_status fes_selftest_panic(fes_error **err);
#endif

/**
 * The bytes of a text.
 *
 * @param text NULL, or the text, to which the bytes belong
 * @param len NULL, or gets the length in bytes without the NUL
 * @return UTF-8 text, ended by a NUL; NULL for NULL
 */
const char *fes_text_data(const fes_text *text,
                          size_t *len);

/**
 * Frees a text.
 *
 * @param text NULL, or the text
 */
void fes_text_free(fes_text *text);

/**
 * The version of the library at run time: compare it with `FES_VERSION`.
 *
 * @return a constant text, for example `0.1.0`
 */
const char *fes_version(void);

/**
 * The ABI version of the library at run time.
 *
 * @return a number that must not be less than the `FES_ABI_VERSION` that a program was compiled
 *   with
 */
uint32_t fes_abi_version(void);

/**
 * What is built into the library.
 *
 * @return the sum of its `fes_feature`s
 */
uint32_t fes_features(void);

/**
 * Makes options with all defaults.
 *
 * @return the options, to be freed with `fes_options_free`; NULL only after a defect
 */
fes_options *fes_options_new(void);

/**
 * Sets an option.
 *
 * @param options the options
 * @param key the name of the option, ended by a NUL; it is copied
 * @param value its value as text, ended by a NUL; it is copied
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_OPTION` for an unknown key (the message lists all) or a
 *   value that makes no sense; `FES_INVALID_ARGUMENT`
 */
fes_status fes_options_set(fes_options *options,
                           const char *key,
                           const char *value,
                           fes_error **err);

/**
 * Frees options.
 *
 * @param options NULL, or the options
 */
void fes_options_free(fes_options *options);

/**
 * Makes a token.
 *
 * @return the token, to be freed with `fes_cancel_token_free`; NULL only after a defect
 */
fes_cancel_token *fes_cancel_token_new(void);

/**
 * Cancels what waits with this token, for good. May be called from any thread, from a callback and
 * from a signal handler.
 *
 * @param cancel NULL, or the token
 */
void fes_cancel_token_cancel(const fes_cancel_token *cancel);

/**
 * Whether the token was cancelled. May be called from a signal handler.
 *
 * @param cancel NULL, or the token
 * @return whether it was; false for NULL
 */
bool fes_cancel_token_is_cancelled(const fes_cancel_token *cancel);

/**
 * Frees a token that no call uses any more.
 *
 * @param cancel NULL, or the token
 */
void fes_cancel_token_free(fes_cancel_token *cancel);

/**
 * How many events there are.
 *
 * @param events NULL, or the events
 * @return their number; 0 for NULL
 */
size_t fes_events_count(const fes_events *events);

/**
 * One event of a batch. The events are one array: the one at 0 is followed by all others.
 *
 * @param events NULL, or the events, to which the one that is returned belongs
 * @param index which one, from 0
 * @return the event; NULL if there is none
 */
const fes_event *fes_events_get(const fes_events *events,
                                size_t index);

/**
 * All events as one JSON array of `{"id":"1","type":"A","data":...,"ts":"2017-07-14T02:40:00Z"}`
 * (ids are strings, because JSON readers round large numbers). Made at the first call.
 *
 * @param events the events, to which the text belongs
 * @param json gets the text, ended by a NUL
 * @param len NULL, or gets its bytes without the NUL
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_CORRUPT_EVENT` if plain SQL put something into the table that is
 *   not JSON
 */
fes_status fes_events_json(const fes_events *events,
                           const char **json,
                           size_t *len,
                           fes_error **err);

/**
 * The data of all events as one JSON array, in their order: what a language that takes the rest
 * from `fes_events_get` parses once for a batch. Made at the first call.
 *
 * @param events the events, to which the text belongs
 * @param json gets the text, ended by a NUL
 * @param len NULL, or gets its bytes without the NUL
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_CORRUPT_EVENT` if plain SQL put something into the table that is
 *   not JSON
 */
fes_status fes_events_data_json(const fes_events *events,
                                const char **json,
                                size_t *len,
                                fes_error **err);

/**
 * Tells why a `fes_on_events` fails, which is the text of `FES_NOTICE_RECEIVER_ERROR` and
 * `FES_NOTICE_SKIPPED` then: `return fes_events_refuse(events, "the disk is full");`.
 *
 * @param events the events that the callback was given, or NULL: nothing is told
 * @param why the reason, which is copied, or NULL: none; bytes that are not UTF-8 are replaced
 * @return 1, for the callback to return
 */
int32_t fes_events_refuse(const fes_events *events,
                          const char *why);

/**
 * Frees events, with all texts of them.
 *
 * @param events NULL, or the events
 */
void fes_events_free(fes_events *events);

/**
 * How many rows there are.
 *
 * @param rows NULL, or the rows
 * @return their number; 0 for NULL
 */
size_t fes_rows_count(const fes_rows *rows);

/**
 * How many columns the rows have.
 *
 * @param rows NULL, or the rows
 * @return their number, also if there is no row (0 then on PostgreSQL with `pooler=transaction`); 0
 *   for NULL
 */
size_t fes_rows_columns(const fes_rows *rows);

/**
 * The name of a column, as the database gives it.
 *
 * @param rows NULL, or the rows, to which the name belongs
 * @param column which column, from 0
 * @param len NULL, or gets the bytes of the name without its NUL
 * @return the name, in UTF-8 and with a NUL at its end; NULL if there is no such column
 */
const char *fes_rows_column_name(const fes_rows *rows,
                                 size_t column,
                                 size_t *len);

/**
 * One value of the rows.
 *
 * @param rows NULL, or the rows, to which the value belongs
 * @param row which row, from 0
 * @param column which column, from 0
 * @return the value; NULL if there is none
 */
const fes_value *fes_rows_get(const fes_rows *rows,
                              size_t row,
                              size_t column);

/**
 * Frees rows, with all values of them.
 *
 * @param rows NULL, or the rows
 */
void fes_rows_free(fes_rows *rows);

/**
 * Makes the statement that adds an event, for the caller's own connection and driver: the event
 * lives and dies with the transaction that it is run in. Needs no stream and no connection.
 *
 * @param kind the `fes_database_kind` of the connection
 * @param type the event type, ended by a NUL
 * @param data NULL for `null`, or the event data as JSON text
 * @param data_len how many bytes `data` has; 0 for NULL
 * @param options NULL, or options, of which `event_table` and `max_event_bytes` matter
 * @param out gets the statement, to be freed with `fes_statement_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
 *   `FES_INVALID_ARGUMENT`
 */
fes_status fes_event_statement(uint32_t kind,
                               const char *type,
                               const char *data,
                               size_t data_len,
                               const fes_options *options,
                               fes_statement **out,
                               fes_error **err);

/**
 * As `fes_event_statement`, for the database and the options of a stream.
 *
 * @param stream the stream
 * @param type the event type, ended by a NUL
 * @param data NULL for `null`, or the event data as JSON text
 * @param data_len how many bytes `data` has; 0 for NULL
 * @param out gets the statement, to be freed with `fes_statement_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
 *   `FES_INVALID_ARGUMENT`
 */
fes_status fes_stream_statement(const fes_stream *stream,
                                const char *type,
                                const char *data,
                                size_t data_len,
                                fes_statement **out,
                                fes_error **err);

/**
 * The SQL, with the placeholders of the database: `?`, or `$1` and `$2` on PostgreSQL.
 *
 * @param statement NULL, or the statement, to which the text belongs
 * @param len NULL, or gets the bytes of the text without the NUL
 * @return the SQL, ended by a NUL; NULL for NULL
 */
const char *fes_statement_sql(const fes_statement *statement,
                              size_t *len);

/**
 * A parameter of the statement, to be bound as text.
 *
 * @param statement NULL, or the statement, to which the text belongs
 * @param index which one: 0 is the type, 1 the JSON
 * @param len NULL, or gets the bytes of the text without the NUL
 * @return the parameter, ended by a NUL; NULL if there is none
 */
const char *fes_statement_param(const fes_statement *statement,
                                size_t index,
                                size_t *len);

/**
 * Frees a statement.
 *
 * @param statement NULL, or the statement
 */
void fes_statement_free(fes_statement *statement);

/**
 * Opens the stream in a database. Makes one connection and changes no schema. Blocks up to the
 * option `connect_timeout_ms`.
 *
 * @param url `sqlite:file.db`, `sqlite:///absolute/file.db`, `sqlite::memory:`,
 *   `postgres://user:password@host:port/database?sslmode=verify-full` or
 *   `mysql://user:password@host:port/database?ssl-mode=VERIFY_IDENTITY`
 * @param options NULL, or options; those in the URL win over them
 * @param out gets the stream, to be closed with `fes_stream_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_URL`, `FES_INVALID_OPTION`, `FES_CONNECT_FAILED`;
 *   `FES_FOREIGN_SQLITE` if anybody else in this process has the SQLite file open
 */
fes_status fes_stream_open(const char *url,
                           const fes_options *options,
                           fes_stream **out,
                           fes_error **err);

/**
 * Opens the stream of the environment variables `DB_EVT_TYPE` (`sqlite`, `postgresql`, `mysql`),
 * `DB_EVT_HOST`, `_PORT`, `_SOCKET`, `_USER`, `_PASS`, `_DB`, `_MAXCONN`. Otherwise as
 * `fes_stream_open`. No other thread may change the environment meanwhile.
 *
 * @param options NULL, or options
 * @param out gets the stream, to be closed with `fes_stream_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_open`
 */
fes_status fes_stream_from_env(const fes_options *options,
                               fes_stream **out,
                               fes_error **err);

/**
 * Closes the stream as `fes_stream_close` does, but the handle stays to be closed: other threads may be
 * inside of calls. Those that wait for a server which does not answer end within 200 ms, waits for events
 * at once, and every later call gives `FES_CLOSED`.
 *
 * @param stream NULL, or the stream
 */
void fes_stream_shutdown(const fes_stream *stream);

/**
 * Closes the stream and frees the handle, which no other thread may use any more. Transactions end
 * by themselves; every other handle made from the stream stays to be closed, and gives
 * `FES_CLOSED`. Stop receivers, archivers and discarders before.
 *
 * @param stream NULL, or the stream
 */
void fes_stream_close(fes_stream *stream);

/**
 * The kind of database that the stream lives in.
 *
 * @param stream NULL, or the stream
 * @return a `fes_database_kind`; 0 for NULL
 */
uint32_t fes_stream_kind(const fes_stream *stream);

/**
 * Makes the tables, or brings them up to date. Idempotent; several processes may do it at once;
 * tables of the npm package are taken over.
 *
 * @param stream the stream
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_FOREIGN_SCHEMA`, `FES_NEWER_SCHEMA`, `FES_PERMISSION_DENIED`,
 *   those of the database
 */
fes_status fes_stream_migrate(const fes_stream *stream,
                              fes_error **err);

/**
 * Adds one event, and returns after the commit.
 *
 * @param stream the stream
 * @param type the event type, ended by a NUL; it is copied
 * @param data NULL for `null`, or the event data as JSON text; it is copied
 * @param data_len how many bytes `data` has; 0 for NULL
 * @param id NULL, or gets the id
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`,
 *   `FES_NOT_MIGRATED`, those of the database. After `FES_CONNECTION_LOST` the event may or may
 *   not have been added
 */
fes_status fes_stream_add_event(const fes_stream *stream,
                                const char *type,
                                const char *data,
                                size_t data_len,
                                uint64_t *id,
                                fes_error **err);

/**
 * Adds events in one transaction, all or none.
 *
 * @param stream the stream
 * @param events an array of `count` events; NULL for 0
 * @param count how many they are
 * @param event_size `sizeof(fes_new_event)`
 * @param ids NULL, or an array of `count` that gets the ids, increasing in the order of `events`;
 *   after an error it is as it was
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_add_event`; nothing was added then
 */
fes_status fes_stream_add_events(const fes_stream *stream,
                                 const fes_new_event *events,
                                 size_t count,
                                 size_t event_size,
                                 uint64_t *ids,
                                 fes_error **err);

/**
 * How far each registered consumer is behind and what holds the stream up, as a JSON object. Ids
 * are strings, as in `fes_events_json`:
 * `{"highest_id":"9","first_unsettled":"8"|null,"holders":[{"id","since","application"}],
 * "blocked":text|null,"warnings":[text],"consumers":[{"ident","last_id","events_behind","seconds_behind",
 * "seconds_since_seen","seconds_registered"}]}`.
 *
 * @param stream the stream
 * @param out gets the text, to be freed with `fes_text_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_UNSAFE_SERVER`, those of the database
 */
fes_status fes_stream_lag_json(const fes_stream *stream,
                               fes_text **out,
                               fes_error **err);

/**
 * Begins a transaction. On SQLite it waits for other writers, up to the option `busy_timeout_ms`;
 * for a connection, up to `connect_timeout_ms`.
 *
 * @param stream the stream
 * @param out gets the transaction, to be freed with `fes_tx_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_BUSY`, those of the database
 */
fes_status fes_stream_begin(const fes_stream *stream,
                            fes_tx **out,
                            fes_error **err);

/**
 * Runs the caller's own statement.
 *
 * @param tx the transaction
 * @param sql the statement, ended by a NUL, in the placeholders of the database (`?`, or `$1` on
 *   PostgreSQL)
 * @param params an array of `count` values to be bound; NULL for 0
 * @param count how many they are
 * @param rows NULL, or gets the number of rows that were touched
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: whatever the database says; `FES_CLOSED` after the end. On PostgreSQL
 *   a failed statement dooms the transaction. After `FES_CONFLICT` nothing of it is left on any
 *   database
 */
fes_status fes_tx_execute(const fes_tx *tx,
                          const char *sql,
                          const fes_value *params,
                          size_t count,
                          uint64_t *rows,
                          fes_error **err);

/**
 * Runs the caller's own query, and gives all its rows.
 *
 * @param tx the transaction
 * @param sql the query, ended by a NUL, in the placeholders of the database (`?`, or `$1` on
 *   PostgreSQL)
 * @param params an array of `count` values to be bound; NULL for 0
 * @param count how many they are
 * @param out gets the rows, to be freed with `fes_rows_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: as `fes_tx_execute`. On PostgreSQL, columns of unknown types are
 *   refused: cast them to `text`
 */
fes_status fes_tx_query(const fes_tx *tx,
                        const char *sql,
                        const fes_value *params,
                        size_t count,
                        fes_rows **out,
                        fes_error **err);

/**
 * Adds an event that lives and dies with the transaction.
 *
 * @param tx the transaction
 * @param type the event type, ended by a NUL; it is copied
 * @param data NULL for `null`, or the event data as JSON text; it is copied
 * @param data_len how many bytes `data` has; 0 for NULL
 * @param id NULL, or gets the id
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_DATA`, `FES_TOO_LARGE`, `FES_CLOSED`,
 *   those of the database
 */
fes_status fes_tx_add_event(const fes_tx *tx,
                            const char *type,
                            const char *data,
                            size_t data_len,
                            uint64_t *id,
                            fes_error **err);

/**
 * Adds events that live and die with the transaction.
 *
 * @param tx the transaction
 * @param events an array of `count` events; NULL for 0
 * @param count how many they are
 * @param event_size `sizeof(fes_new_event)`
 * @param ids NULL, or an array of `count` that gets the ids, increasing in the order of `events`;
 *   after an error it is as it was
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: as `fes_tx_add_event`; some events may have been added then: roll back
 */
fes_status fes_tx_add_events(const fes_tx *tx,
                             const fes_new_event *events,
                             size_t count,
                             size_t event_size,
                             uint64_t *ids,
                             fes_error **err);

/**
 * Makes everything durable and visible. The transaction has ended then, also after an error; it is
 * still to be freed.
 *
 * @param tx the transaction
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of the database; `FES_CONFLICT` if it undid the transaction
 *   before; `FES_CLOSED` if it has ended. After `FES_CONNECTION_LOST` it may or may not have been
 *   committed
 */
fes_status fes_tx_commit(const fes_tx *tx,
                         fes_error **err);

/**
 * Undoes everything. The transaction has ended then; it is still to be freed.
 *
 * @param tx the transaction
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of the database, which undoes it anyway; `FES_CLOSED` if it has
 *   ended
 */
fes_status fes_tx_rollback(const fes_tx *tx,
                           fes_error **err);

/**
 * Frees a transaction; one that has not ended is rolled back.
 *
 * @param tx NULL, or the transaction
 */
void fes_tx_free(fes_tx *tx);

/**
 * Makes a consumer, and asks no database. The component `LIVE` makes one that never registers and
 * gets what comes from now on.
 *
 * @param stream the stream
 * @param user up to 64 characters of printable ASCII without `:`, ended by a NUL; it is copied
 * @param component 1 to 16 letters, digits and `_`, ended by a NUL; it is copied
 * @param out gets the consumer, to be closed with `fes_consumer_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_USER`, `FES_INVALID_COMPONENT`, `FES_IDENT_TOO_LONG`
 */
fes_status fes_consumer_open(const fes_stream *stream,
                             const char *user,
                             const char *component,
                             fes_consumer **out,
                             fes_error **err);

/**
 * Registers the consumer, to begin with the first event that is still there: from now on no event
 * that it has not acknowledged is discarded. Does nothing if it is registered.
 *
 * @param consumer the consumer
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_LIVE_NOT_ALLOWED`, `FES_SECURITY_ERROR`, `FES_NOT_MIGRATED`,
 *   those of the database
 */
fes_status fes_consumer_register(const fes_consumer *consumer,
                                 fes_error **err);

/**
 * As `fes_consumer_register`, to begin elsewhere.
 *
 * @param consumer the consumer
 * @param start a `fes_start`
 * @param value what `start` says: an id, a time, or nothing
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_consumer_register`; `FES_INVALID_LAST_ID` for an id
 *   beyond the next one
 */
fes_status fes_consumer_register_at(const fes_consumer *consumer,
                                    uint32_t start,
                                    int64_t value,
                                    fes_error **err);

/**
 * Forgets the consumer and its cursor.
 *
 * @param consumer the consumer
 * @param was_registered NULL, or gets whether there was one
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_LIVE_NOT_ALLOWED`, `FES_SECURITY_ERROR`, those of the database
 */
fes_status fes_consumer_unregister(const fes_consumer *consumer,
                                   bool *was_registered,
                                   fes_error **err);

/**
 * Gives the next events, and waits for the first one if there are none.
 *
 * @param consumer the consumer
 * @param last_id NULL to go on at the stored cursor (or at this LIVE consumer's place), or the id
 *   up to which everything is acknowledged by this call
 * @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
 *   0
 * @param type_count how many they are, up to 1000; 0 for all events
 * @param limit the most events wanted, 1 or more; no more than the option `max_chunk_events` come, so that
 *   `SIZE_MAX` means as many as that
 * @param timeout_ms how many milliseconds to wait at most; 0 asks once, `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends the wait
 * @param out gets the events, to be freed with `fes_events_free`; an empty batch if there were
 *   none in time
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_REGISTERED`, `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`,
 *   `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`, `FES_UNSAFE_SERVER`, `FES_CANCELLED`, those of the
 *   database; `FES_CORRUPT_EVENT` if the next event cannot be read (those before it came first), until it is
 *   corrected or passed over by `fes_consumer_skip`; LIVE is told once
 */
fes_status fes_consumer_poll(const fes_consumer *consumer,
                             const uint64_t *last_id,
                             const char *const *types,
                             size_t type_count,
                             size_t limit,
                             uint32_t timeout_ms,
                             const fes_cancel_token *cancel,
                             fes_events **out,
                             fes_error **err);

/**
 * Acknowledges every event up to an id. The cursor never moves back.
 *
 * @param consumer the consumer
 * @param last_id the id of the last event that was worked on
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_REGISTERED`, `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`,
 *   those of the database
 */
fes_status fes_consumer_acknowledge(const fes_consumer *consumer,
                                    uint64_t last_id,
                                    fes_error **err);

/**
 * Passes over exactly one event, if it is the next one of this reliable consumer and cannot be read:
 * acknowledges it.
 *
 * @param consumer the consumer
 * @param id the id of the event, as `fes_error_unreadable` has it for the error of the poll
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if another event, or none, is the next one, or if
 *   it can be read, and then nothing is acknowledged; those of `fes_consumer_acknowledge`;
 *   `FES_LIVE_NOT_ALLOWED`
 */
fes_status fes_consumer_skip(const fes_consumer *consumer,
                             uint64_t id,
                             fes_error **err);

/**
 * Frees the handle; the consumer stays registered.
 *
 * @param consumer NULL, or the consumer
 */
void fes_consumer_close(fes_consumer *consumer);

/**
 * Subscribes a consumer. A reliable one must be registered, and gets everything after its cursor,
 * in order; `LIVE` gets what comes from now on, and skips the oldest when more than the option
 * `queue_max` events wait.
 *
 * @param stream the stream
 * @param user the user of the consumer, as of `fes_consumer_open`
 * @param component its component
 * @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
 *   0
 * @param type_count how many they are, up to 1000; 0 for all events
 * @param options NULL, or options, of which those of push matter
 * @param out gets the subscription, to be closed with `fes_subscription_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_REGISTERED`; `FES_OCCUPIED` if another receiver of this
 *   consumer is at work; `FES_SECURITY_ERROR`, `FES_INVALID_LAST_ID`, `FES_UNSAFE_SERVER`, those
 *   of `fes_consumer_open` and of the database
 */
fes_status fes_stream_subscribe(const fes_stream *stream,
                                const char *user,
                                const char *component,
                                const char *const *types,
                                size_t type_count,
                                const fes_options *options,
                                fes_subscription **out,
                                fes_error **err);

/**
 * Waits for the next delivery.
 *
 * @param subscription the subscription
 * @param timeout_ms how many milliseconds to wait at most; 0 only looks, `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends the wait
 * @param out gets the events of the delivery, to be freed with `fes_events_free`; NULL if there
 *   was none, or if as many deliveries as the option `request_max` are not acknowledged
 * @param seq NULL, or gets the delivery's number, from 0; a gap tells a LIVE subscriber that a
 *   group was skipped
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_CLOSED`, `FES_CANCELLED`, `FES_NOT_REGISTERED`, `FES_OCCUPIED`,
 *   those of the database; `FES_CORRUPT_EVENT` if the next event cannot be read: see
 *   `fes_subscription_skip`. After any but `FES_CLOSED` the call may be repeated: nothing is lost
 */
fes_status fes_subscription_next(const fes_subscription *subscription,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_events **out,
                                 uint64_t *seq,
                                 fes_error **err);

/**
 * Gives a descriptor for event loops (poll, epoll, libuv, GLib, asyncio), so that no thread has to wait:
 * it is readable while a delivery may wait, or an error is to be told.
 *
 * - When it is readable, call `fes_subscription_next` with a time of 0 until it gives no events: only
 *   then it is not readable any more, until there is more. It may be readable with nothing there, and is
 *   never unreadable with something there.
 * - While as many deliveries as the option `request_max` are not acknowledged there is nothing to be had;
 *   `fes_subscription_ack` makes it readable if more waits.
 * - It is level-triggered. After an error it stays readable: wait a moment before the next call, as one
 *   does without it. After `FES_CLOSED` and `FES_NOT_REGISTERED` it stays so for good.
 * - It belongs to the subscription, and is the same at each call: do not read, write or close it, and take
 *   it out of the loop before `fes_subscription_close`, which closes it.
 * - With a backlog a call may take as long as a read from the database, on a server up to 150 ms: what is
 *   read then makes the descriptor readable. Calls also look whether another receiver took the consumer's
 *   place; without one that is told with what comes next.
 *
 * @param subscription the subscription
 * @param fd gets the descriptor (an eventfd on Linux, a socket elsewhere); -1 after a failure
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the process has no descriptor left;
 *   `FES_INVALID_ARGUMENT`, also on systems without such descriptors
 */
fes_status fes_subscription_fd(const fes_subscription *subscription,
                               int *fd,
                               fes_error **err);

/**
 * Acknowledges the oldest delivery that is not acknowledged; the cursor is stored within the
 * option `ack_interval_ms`.
 *
 * @param subscription the subscription
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if there is none
 */
fes_status fes_subscription_ack(const fes_subscription *subscription,
                                fes_error **err);

/**
 * Passes over the event that the last error `FES_CORRUPT_EVENT` of `fes_subscription_next` has named
 * because it cannot be read. It counts as acknowledged once everything before it is. A LIVE
 * subscriber is told once, and has nothing to pass over.
 *
 * @param subscription the subscription
 * @param id the id of the event, as `fes_error_unreadable` has it
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` if another event, or none, is the one that could
 *   not be read
 */
fes_status fes_subscription_skip(const fes_subscription *subscription,
                                 uint64_t id,
                                 fes_error **err);

/**
 * What was done so far.
 *
 * @param subscription the subscription
 * @param delivered NULL, or gets how many events were handed out
 * @param skipped NULL, or gets how many were skipped because too many waited (LIVE)
 * @param overflows NULL, or gets how often the queue was too small, so that events were read from
 *   the database (reliable)
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_subscription_stats(const fes_subscription *subscription,
                                  uint64_t *delivered,
                                  uint64_t *skipped,
                                  uint64_t *overflows,
                                  fes_error **err);

/**
 * Ends the subscription: stores the cursor (an error of that is logged; events may come again
 * then), frees the consumer's name for others, and frees the handle, which no other thread may use
 * any more: end its `fes_subscription_next` with a cancel token first.
 *
 * @param subscription NULL, or the subscription
 */
void fes_subscription_close(fes_subscription *subscription);

/**
 * Makes a receiver, which registers itself when it is started; `LIVE` makes one that gets what
 * comes while it runs.
 *
 * @param stream the stream
 * @param user the user of the consumer, as of `fes_consumer_open`
 * @param component its component
 * @param on_events what is called with every delivery
 * @param user_data what it is called with: the caller's, and usable from another thread until
 *   `fes_receiver_stop` or `fes_receiver_close` has returned
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param out gets the receiver, to be closed with `fes_receiver_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_consumer_open`
 */
fes_status fes_receiver_open(const fes_stream *stream,
                             const char *user,
                             const char *component,
                             fes_on_events on_events,
                             void *user_data,
                             fes_on_destroy on_destroy,
                             fes_receiver **out,
                             fes_error **err);

/**
 * The event types to receive, all if not set; before the first start.
 *
 * @param receiver the receiver
 * @param types an array of `type_count` event types, each ended by a NUL; NULL for 0
 * @param type_count how many they are, up to 1000; 0 for all events
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`
 */
fes_status fes_receiver_set_want(const fes_receiver *receiver,
                                 const char *const *types,
                                 size_t type_count,
                                 fes_error **err);

/**
 * Options of push for this receiver; before the first start.
 *
 * @param receiver the receiver
 * @param options NULL, or options
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_receiver_set_options(const fes_receiver *receiver,
                                    const fes_options *options,
                                    fes_error **err);

/**
 * What to do about events that the callback fails on; before the first start.
 *
 * @param receiver the receiver
 * @param poison a `fes_poison_policy`
 * @param count 1 or more for `FES_POISON_SKIP_AFTER`, else 0
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_receiver_set_poison(const fes_receiver *receiver,
                                   uint32_t poison,
                                   uint32_t count,
                                   fes_error **err);

/**
 * Who is told how the receiver fares; before the first start.
 *
 * @param receiver the receiver
 * @param on_notice what is called with every notice
 * @param user_data what it is called with, as of `fes_receiver_open`
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_receiver_set_on_notice(const fes_receiver *receiver,
                                      fes_on_notice on_notice,
                                      void *user_data,
                                      fes_on_destroy on_destroy,
                                      fes_error **err);

/**
 * Starts the thread, which registers where that is needed, and subscribes; does nothing if it is
 * started. What fails there comes as a notice, and is tried again. May be called again after a stop.
 *
 * @param receiver the receiver
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_CLOSED`; `FES_OUT_OF_RESOURCES` if the system gives no thread
 */
fes_status fes_receiver_start(const fes_receiver *receiver,
                              fes_error **err);

/**
 * Stops, and returns after the last callback, which it waits for without a limit. From inside a
 * callback of this receiver it returns at once, and that call is the last. May be called twice.
 *
 * @param receiver the receiver
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_receiver_stop(const fes_receiver *receiver,
                             fes_error **err);

/**
 * As `fes_receiver_stop`, but waits no longer than it is told.
 *
 * @param receiver the receiver
 * @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
 *   has no end
 * @param cancel NULL, or a token that ends the wait
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if the last callback has not returned:
 *   the receiver was asked to end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_receiver_stop_for(const fes_receiver *receiver,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_error **err);

/**
 * Whether the thread runs.
 *
 * @param receiver NULL, or the receiver
 * @return whether it does; false for NULL
 */
bool fes_receiver_is_running(const fes_receiver *receiver);

/**
 * What was done since the receiver was opened.
 *
 * @param receiver the receiver
 * @param delivered NULL, or gets how many events were handed out
 * @param skipped NULL, or gets how many were skipped because too many waited (LIVE)
 * @param overflows NULL, or gets how often the queue was too small, so that events were read from
 *   the database (reliable)
 * @param failures NULL, or gets how many callbacks failed
 * @param given_up NULL, or gets how many events `FES_NOTICE_SKIPPED` told of, up to 1000
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_receiver_stats(const fes_receiver *receiver,
                              uint64_t *delivered,
                              uint64_t *skipped,
                              uint64_t *overflows,
                              uint64_t *failures,
                              uint64_t *given_up,
                              fes_error **err);

/**
 * Stops as `fes_receiver_stop`, and frees the handle, which no other thread may use any more. Not
 * from inside a callback of this receiver.
 *
 * @param receiver NULL, or the receiver
 */
void fes_receiver_close(fes_receiver *receiver);

/**
 * Opens the warehouse in a database. Changes no schema.
 *
 * @param url where it is: see `fes_stream_open`
 * @param options NULL, or options; those in the URL win over them
 * @param out gets the warehouse, to be closed with `fes_warehouse_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_URL`, `FES_INVALID_OPTION`, `FES_CONNECT_FAILED`,
 *   `FES_FOREIGN_SQLITE`
 */
fes_status fes_warehouse_open(const char *url,
                              const fes_options *options,
                              fes_warehouse **out,
                              fes_error **err);

/**
 * Opens the warehouse of the environment variables `DB_EVTDWH_TYPE` and so on: see
 * `fes_stream_from_env`.
 *
 * @param options NULL, or options
 * @param out gets the warehouse, to be closed with `fes_warehouse_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_warehouse_open`
 */
fes_status fes_warehouse_from_env(const fes_options *options,
                                  fes_warehouse **out,
                                  fes_error **err);

/**
 * The kind of database that the warehouse lives in.
 *
 * @param warehouse NULL, or the warehouse
 * @return a `fes_database_kind`; 0 for NULL
 */
uint32_t fes_warehouse_kind(const fes_warehouse *warehouse);

/**
 * Makes the table, or brings it up to date. Idempotent; several processes may do it at once.
 *
 * @param warehouse the warehouse
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_FOREIGN_SCHEMA`, `FES_NEWER_SCHEMA`, `FES_PERMISSION_DENIED`,
 *   those of the database
 */
fes_status fes_warehouse_migrate(const fes_warehouse *warehouse,
                                 fes_error **err);

/**
 * Gives archived events.
 *
 * @param warehouse the warehouse
 * @param from_id the first id that is wanted
 * @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
 *   0
 * @param type_count how many they are, up to 1000; 0 for all events
 * @param limit the most events wanted, 1 or more
 * @param out gets the events, to be freed with `fes_events_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`, those
 *   of the database
 */
fes_status fes_warehouse_history(const fes_warehouse *warehouse,
                                 uint64_t from_id,
                                 const char *const *types,
                                 size_t type_count,
                                 size_t limit,
                                 fes_events **out,
                                 fes_error **err);

/**
 * Closes the warehouse as `fes_warehouse_close` does, but the handle stays to be closed: see
 * `fes_stream_shutdown`.
 *
 * @param warehouse NULL, or the warehouse
 */
void fes_warehouse_shutdown(const fes_warehouse *warehouse);

/**
 * Closes the warehouse and frees the handle, which no other thread may use any more. Archivers and
 * replays of it give `FES_CLOSED`.
 *
 * @param warehouse NULL, or the warehouse
 */
void fes_warehouse_close(fes_warehouse *warehouse);

/**
 * Begins to read all events of a stream, archived or not. Registers nothing, and asks no database
 * yet.
 *
 * @param warehouse the warehouse of this stream
 * @param stream the stream
 * @param from_id the first id that is wanted
 * @param types an array of `type_count` event types that are wanted, each ended by a NUL; NULL for
 *   0
 * @param type_count how many they are, up to 1000; 0 for all events
 * @param out gets the replay, to be closed with `fes_replay_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_TYPE`, `FES_INVALID_ARGUMENT`
 */
fes_status fes_replay_open(const fes_warehouse *warehouse,
                           const fes_stream *stream,
                           uint64_t from_id,
                           const char *const *types,
                           size_t type_count,
                           fes_replay **out,
                           fes_error **err);

/**
 * Gives the next events.
 *
 * @param replay the replay
 * @param limit the most events wanted, 1 or more
 * @param out gets the events, to be freed with `fes_events_free`; an empty batch if there are no
 *   more now
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`, `FES_INVALID_LAST_ID`, `FES_NOT_MIGRATED`,
 *   `FES_UNSAFE_SERVER`, those of both databases. The next call goes on at the same place
 */
fes_status fes_replay_next(const fes_replay *replay,
                           size_t limit,
                           fes_events **out,
                           fes_error **err);

/**
 * As `fes_replay_next`, but waits for the first event.
 *
 * @param replay the replay
 * @param limit the most events wanted, 1 or more
 * @param timeout_ms how many milliseconds to wait at most; 0 looks once, `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends the wait
 * @param out gets the events, to be freed with `fes_events_free`; an empty batch if there was none
 *   in time, although more may be there behind what was not wanted: `fes_replay_position` moves on
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_replay_next`; `FES_CANCELLED`. The next call goes on at
 *   the same place
 */
fes_status fes_replay_next_for(const fes_replay *replay,
                               size_t limit,
                               uint32_t timeout_ms,
                               const fes_cancel_token *cancel,
                               fes_events **out,
                               fes_error **err);

/**
 * How far the replay has come.
 *
 * @param replay NULL, or the replay
 * @return the id up to which everything was given, or was not wanted; 0 for NULL
 */
uint64_t fes_replay_position(const fes_replay *replay);

/**
 * Frees the replay.
 *
 * @param replay NULL, or the replay
 */
void fes_replay_close(fes_replay *replay);

/**
 * Accounts for every id of a range: its event is in the stream, in the history, in both and equal;
 * it was discarded or never committed; or something is wrong. Gives a JSON object. Ids are
 * strings:
 * `{"first","last","highest_id","complete":true,"in_queue":1,"in_both":0,"in_history":0,"never_committed":0,"gone":0,
 * "unsettled":0,"blocked":text|null,"findings":[{"kind","meaning","count","examples":[{"id","detail"}]}]}`.
 * All is well where `findings` is empty. Reads both tables once; others may write, archive and
 * discard meanwhile.
 *
 * @param stream the stream
 * @param warehouse NULL, or the warehouse with its history
 * @param from_id the first id; 0 for the first one that there is
 * @param to_id the last id; 0 for the highest that was allocated
 * @param examples the most ids told of each finding
 * @param out gets the text, to be freed with `fes_text_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_UNSAFE_SERVER`, `FES_PERMISSION_DENIED`,
 *   those of both databases
 */
fes_status fes_stream_verify_json(const fes_stream *stream,
                                  const fes_warehouse *warehouse,
                                  uint64_t from_id,
                                  uint64_t to_id,
                                  size_t examples,
                                  fes_text **out,
                                  fes_error **err);

/**
 * As `fes_stream_verify_json`, but reads no further when its time is over. What was looked at by
 * then is told, `complete` is false, and another call goes on from the id `last` plus 1.
 *
 * @param stream the stream
 * @param warehouse NULL, or the warehouse with its history
 * @param from_id the first id; 0 for the first one that there is
 * @param to_id the last id; 0 for the highest that was allocated
 * @param examples the most ids told of each finding
 * @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends it
 * @param out gets the text, to be freed with `fes_text_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_verify_json`; `FES_CANCELLED`
 */
fes_status fes_stream_verify_json_for(const fes_stream *stream,
                                      const fes_warehouse *warehouse,
                                      uint64_t from_id,
                                      uint64_t to_id,
                                      size_t examples,
                                      uint32_t timeout_ms,
                                      const fes_cancel_token *cancel,
                                      fes_text **out,
                                      fes_error **err);

/**
 * Looks at the database, its settings and the rights of this database user, before something is
 * lost. Gives a JSON array of
 * `{"name","status":"ok"|"unknown"|"warning"|"failure","seen","why","remedy":text|null}`: what was
 * seen, why it matters, and the statement or option that mends it. All is well where no `status`
 * is `failure`. Makes connections of its own and changes nothing.
 *
 * @param stream the stream
 * @param warehouse NULL, or a warehouse that is looked at, too
 * @param roles an array of `role_count` roles of docs/grants.md that are looked at, each ended by
 *   a NUL: `generator`, `consumer`, `archiver`, `discarder`. Of a role that is named a missing
 *   right is a failure, else a warning. NULL for 0
 * @param role_count how many they are; 0 for all roles
 * @param out gets the text, to be freed with `fes_text_free`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for another role, `FES_CLOSED`
 */
fes_status fes_stream_doctor_json(const fes_stream *stream,
                                  const fes_warehouse *warehouse,
                                  const char *const *roles,
                                  size_t role_count,
                                  fes_text **out,
                                  fes_error **err);

/**
 * Makes an archiver, which does nothing yet.
 *
 * @param stream the stream
 * @param warehouse the warehouse that gets its history
 * @param options NULL, or options, of which `archive_batch` matters
 * @param out gets the archiver, to be closed with `fes_archiver_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_archiver_open(const fes_stream *stream,
                             const fes_warehouse *warehouse,
                             const fes_options *options,
                             fes_archiver **out,
                             fes_error **err);

/**
 * Sets the notice callback, replacing any previous one.
 *
 * @param archiver the archiver
 * @param on_notice what is called with every notice
 * @param user_data what it is called with: the caller's, and usable from another thread until the
 *   archiver is closed
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_archiver_set_on_notice(const fes_archiver *archiver,
                                      fes_on_notice on_notice,
                                      void *user_data,
                                      fes_on_destroy on_destroy,
                                      fes_error **err);

/**
 * Starts the archiver's thread; does nothing if it is started. What fails there comes as a notice.
 *
 * @param archiver the archiver
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
 */
fes_status fes_archiver_start(const fes_archiver *archiver,
                              fes_error **err);

/**
 * Ends the thread after the batch that it is at, and returns after the last notice. From inside a
 * notice it only asks the thread to end. May be called twice.
 *
 * @param archiver the archiver
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_archiver_stop(const fes_archiver *archiver,
                             fes_error **err);

/**
 * As `fes_archiver_stop`, but waits no longer than it is told.
 *
 * @param archiver the archiver
 * @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
 *   has no end
 * @param cancel NULL, or a token that ends the wait
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if it is still at work: it was asked to
 *   end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_archiver_stop_for(const fes_archiver *archiver,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_error **err);

/**
 * Whether the thread runs.
 *
 * @param archiver NULL, or the archiver
 * @return whether it does; false for NULL
 */
bool fes_archiver_is_running(const fes_archiver *archiver);

/**
 * Archives, on this thread, what is settled now.
 *
 * @param archiver the archiver
 * @param count NULL, or gets how many events that were
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_OCCUPIED` if another archiver is at work; `FES_INVALID_ARGUMENT`
 *   from inside a notice of this archiver; `FES_HISTORY_CONFLICT`, `FES_NOT_MIGRATED`, those of
 *   both databases
 */
fes_status fes_archiver_run_once(const fes_archiver *archiver,
                                 uint64_t *count,
                                 fes_error **err);

/**
 * As `fes_archiver_run_once`, but begins no batch when its time is over.
 *
 * @param archiver the archiver
 * @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends it
 * @param count NULL, or gets how many events were archived
 * @param complete NULL, or gets whether all was archived
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_archiver_run_once`; `FES_CANCELLED`, and what was
 *   archived before stays so
 */
fes_status fes_archiver_run_for(const fes_archiver *archiver,
                                uint32_t timeout_ms,
                                const fes_cancel_token *cancel,
                                uint64_t *count,
                                bool *complete,
                                fes_error **err);

/**
 * Stops as `fes_archiver_stop`, and frees the handle. Not from inside its notice.
 *
 * @param archiver NULL, or the archiver
 */
void fes_archiver_close(fes_archiver *archiver);

/**
 * Makes a discarder, which does nothing yet.
 *
 * @param stream the stream
 * @param options NULL, or options, of which `limit_at_once`, `poll_period_ms`, `require_archiver`
 *   and `expire_after_s` matter
 * @param out gets the discarder, to be closed with `fes_discarder_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_discarder_open(const fes_stream *stream,
                              const fes_options *options,
                              fes_discarder **out,
                              fes_error **err);

/**
 * Sets the notice callback, replacing any previous one.
 *
 * @param discarder the discarder
 * @param on_notice what is called with every notice
 * @param user_data what it is called with: the caller's, and usable from another thread until the
 *   discarder is closed
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_discarder_set_on_notice(const fes_discarder *discarder,
                                       fes_on_notice on_notice,
                                       void *user_data,
                                       fes_on_destroy on_destroy,
                                       fes_error **err);

/**
 * Starts the discarder's thread; does nothing if it is started. What fails there comes as a notice.
 *
 * @param discarder the discarder
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
 */
fes_status fes_discarder_start(const fes_discarder *discarder,
                               fes_error **err);

/**
 * Ends the thread after the statement that it is at, and returns after the last notice. From
 * inside a notice it only asks the thread to end. May be called twice.
 *
 * @param discarder the discarder
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_discarder_stop(const fes_discarder *discarder,
                              fes_error **err);

/**
 * As `fes_discarder_stop`, but waits no longer than it is told.
 *
 * @param discarder the discarder
 * @param timeout_ms how many milliseconds to wait at most; 0 only asks it to end, `FES_FOREVER`
 *   has no end
 * @param cancel NULL, or a token that ends the wait
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if it is still at work: it was asked to
 *   end, and the call may be repeated. `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_discarder_stop_for(const fes_discarder *discarder,
                                  uint32_t timeout_ms,
                                  const fes_cancel_token *cancel,
                                  fes_error **err);

/**
 * Whether the thread runs.
 *
 * @param discarder NULL, or the discarder
 * @return whether it does; false for NULL
 */
bool fes_discarder_is_running(const fes_discarder *discarder);

/**
 * Discards, on this thread, all that may be discarded now.
 *
 * @param discarder the discarder
 * @param count NULL, or gets how many events that were
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_NOT_MIGRATED`, `FES_PERMISSION_DENIED`, those of the database
 */
fes_status fes_discarder_run_once(const fes_discarder *discarder,
                                  uint64_t *count,
                                  fes_error **err);

/**
 * As `fes_discarder_run_once`, but begins no statement when its time is over.
 *
 * @param discarder the discarder
 * @param timeout_ms after how many milliseconds to end; `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends it
 * @param count NULL, or gets how many events were discarded
 * @param complete NULL, or gets whether all was discarded
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_discarder_run_once`; `FES_CANCELLED`, and what was
 *   discarded before stays so
 */
fes_status fes_discarder_run_for(const fes_discarder *discarder,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 uint64_t *count,
                                 bool *complete,
                                 fes_error **err);

/**
 * Stops as `fes_discarder_stop`, and frees the handle. Not from inside its notice.
 *
 * @param discarder NULL, or the discarder
 */
void fes_discarder_close(fes_discarder *discarder);

/**
 * Opens a stream and, where one is wanted, a warehouse. The archiver is there with a warehouse,
 * unless `enable_archiver` is false; the discarder with `enable_discarder`. Starts nothing.
 *
 * @param url where the stream is: see `fes_stream_open`
 * @param warehouse_url NULL, or where the warehouse is
 * @param options NULL, or options of both; those in a URL win over them
 * @param out gets the app, to be closed with `fes_app_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_open`
 */
fes_status fes_app_open(const char *url,
                        const char *warehouse_url,
                        const fes_options *options,
                        fes_app **out,
                        fes_error **err);

/**
 * Opens both of the environment, the warehouse if `DB_EVTDWH_TYPE` is set: see
 * `fes_stream_from_env`.
 *
 * @param options NULL, or options of both
 * @param out gets the app, to be closed with `fes_app_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_open`
 */
fes_status fes_app_from_env(const fes_options *options,
                            fes_app **out,
                            fes_error **err);

/**
 * Gives another handle of the app's stream. Its `fes_stream_close` closes the stream for the app,
 * too: close it after the app, or when the app is not needed any more.
 *
 * @param app the app
 * @param out gets the stream, to be closed with `fes_stream_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_app_stream(const fes_app *app,
                          fes_stream **out,
                          fes_error **err);

/**
 * As `fes_app_stream`, for the warehouse.
 *
 * @param app the app
 * @param out gets the warehouse, to be closed with `fes_warehouse_close`
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`, also if the app has no warehouse
 */
fes_status fes_app_warehouse(const fes_app *app,
                             fes_warehouse **out,
                             fes_error **err);

/**
 * Makes the tables of the stream and of the warehouse, or brings them up to date.
 *
 * @param app the app
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: those of `fes_stream_migrate`
 */
fes_status fes_app_migrate(const fes_app *app,
                           fes_error **err);

/**
 * Who is told how archiver and discarder fare, from their threads, which may call at once.
 *
 * @param app the app
 * @param on_notice what is called with every notice
 * @param user_data what it is called with: the caller's, and usable from other threads until the
 *   app is closed
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT`
 */
fes_status fes_app_set_on_notice(const fes_app *app,
                                 fes_on_notice on_notice,
                                 void *user_data,
                                 fes_on_destroy on_destroy,
                                 fes_error **err);

/**
 * Starts archiver and discarder; does nothing to one that is started.
 *
 * @param app the app
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_OUT_OF_RESOURCES` if the system gives no thread
 */
fes_status fes_app_start(const fes_app *app,
                         fes_error **err);

/**
 * Stops the discarder after its statement, then the archiver after its batch, and returns after
 * the last notice. They may be started again. From inside a notice it only asks the thread of that
 * notice to end.
 *
 * @param app the app
 * @param timeout_ms how many milliseconds to wait at most; 0 only asks, `FES_FOREVER` has no end
 * @param cancel NULL, or a token that ends the wait
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_TIMEOUT`, `FES_CANCELLED` if one of them is still at work: the
 *   call may be repeated. `FES_INVALID_ARGUMENT` for NULL
 */
fes_status fes_app_stop_for(const fes_app *app,
                            uint32_t timeout_ms,
                            const fes_cancel_token *cancel,
                            fes_error **err);

/**
 * Stops the discarder, then the archiver after the batch that it is at, closes stream and
 * warehouse, and frees the handle. Returns after the last notice. Not from inside a notice.
 *
 * @param app NULL, or the app
 */
void fes_app_close(fes_app *app);

/**
 * Sends the library's log to a callback, in place of where it went before; at first it goes
 * nowhere. One for the process. Returns after the last call of the one before.
 *
 * @param on_log NULL for nowhere, or what is called with every message
 * @param user_data what it is called with: the caller's, and usable from every thread
 * @param on_destroy NULL, or what is called with `user_data` once nothing needs it any more
 * @param level a `fes_log_level`, up to which messages are wanted
 * @param err NULL, or gets the error of a failure, to be freed with `fes_error_free`
 * @return `FES_OK`. Errors: `FES_INVALID_ARGUMENT` for a level that is none, or in a Rust program
 *   that has a logger of its own
 */
fes_status fes_log_set(fes_on_log on_log,
                       void *user_data,
                       fes_on_destroy on_destroy,
                       uint32_t level,
                       fes_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FUTOIN_EVENTSTREAM_H */
