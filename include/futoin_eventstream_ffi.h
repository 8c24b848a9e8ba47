/* The declarations of futoin_eventstream.h, which tells what they do, for the FFI of other
 * languages. Made from it (tests/it/c/header): do not edit it. */
enum { FES_VERSION_MAJOR = 0 };
enum { FES_VERSION_MINOR = 1 };
enum { FES_VERSION_PATCH = 0 };
enum { FES_ABI_VERSION = 1 };
enum { FES_FOREVER = 4294967295 };
enum fes_status {
    FES_OK = 0,
    FES_INVALID_TYPE = 1,
    FES_INVALID_DATA = 2,
    FES_TOO_LARGE = 3,
    FES_INVALID_COMPONENT = 4,
    FES_INVALID_USER = 5,
    FES_IDENT_TOO_LONG = 6,
    FES_INVALID_LAST_ID = 7,
    FES_INVALID_OPTION = 8,
    FES_INVALID_URL = 9,
    FES_INVALID_ARGUMENT = 10,
    FES_NOT_REGISTERED = 20,
    FES_LIVE_NOT_ALLOWED = 21,
    FES_SECURITY_ERROR = 22,
    FES_PERMISSION_DENIED = 23,
    FES_OCCUPIED = 24,
    FES_CONNECT_FAILED = 30,
    FES_CONNECTION_LOST = 31,
    FES_BUSY = 32,
    FES_CONFLICT = 33,
    FES_TIMEOUT = 34,
    FES_OUT_OF_RESOURCES = 35,
    FES_TRANSACTION_ENDED = 36,
    FES_NOT_MIGRATED = 40,
    FES_FOREIGN_SCHEMA = 41,
    FES_NEWER_SCHEMA = 42,
    FES_UNSAFE_SERVER = 43,
    FES_FOREIGN_SQLITE = 44,
    FES_CORRUPT_EVENT = 45,
    FES_HISTORY_CONFLICT = 46,
    FES_STREAM_REWOUND = 47,
    FES_LATE_EVENT = 48,
    FES_CONSTRAINT = 50,
    FES_DATABASE = 51,
    FES_CLOSED = 60,
    FES_CANCELLED = 70,
    FES_INTERNAL = 99,
    FES_PANIC = 100,
};
typedef uint32_t fes_status;
enum fes_value_kind {
    FES_VALUE_NULL = 0,
    FES_VALUE_BOOL = 1,
    FES_VALUE_INT = 2,
    FES_VALUE_UINT = 3,
    FES_VALUE_REAL = 4,
    FES_VALUE_TEXT = 5,
    FES_VALUE_BYTES = 6,
};
typedef uint32_t fes_value_kind;
enum fes_database_kind {
    FES_KIND_SQLITE = 1,
    FES_KIND_POSTGRES = 2,
    FES_KIND_MYSQL = 3,
};
typedef uint32_t fes_database_kind;
enum fes_start {
    FES_START_BEGINNING = 0,
    FES_START_NOW = 1,
    FES_START_ID = 2,
    FES_START_TIME = 3,
};
typedef uint32_t fes_start;
enum fes_notice {
    FES_NOTICE_READY = 1,
    FES_NOTICE_NEW_EVENTS = 2,
    FES_NOTICE_PROCESSED_EVENTS = 3,
    FES_NOTICE_DISCARDED = 4,
    FES_NOTICE_EXPIRED = 5,
    FES_NOTICE_WAITING = 6,
    FES_NOTICE_WORKER_ERROR = 7,
    FES_NOTICE_RECEIVER_ERROR = 8,
    FES_NOTICE_SKIPPED = 9,
    FES_NOTICE_STOPPED = 10,
};
typedef uint32_t fes_notice;
enum fes_poison_policy {
    FES_POISON_RETRY = 0,
    FES_POISON_STOP = 1,
    FES_POISON_SKIP_AFTER = 2,
};
typedef uint32_t fes_poison_policy;
enum fes_log_level {
    FES_LOG_OFF = 0,
    FES_LOG_ERROR = 1,
    FES_LOG_WARN = 2,
    FES_LOG_INFO = 3,
    FES_LOG_DEBUG = 4,
    FES_LOG_TRACE = 5,
};
typedef uint32_t fes_log_level;
enum fes_feature {
    FES_FEATURE_SQLITE = 1,
    FES_FEATURE_POSTGRES = 2,
    FES_FEATURE_MYSQL = 4,
    FES_FEATURE_TLS = 8,
};
typedef uint32_t fes_feature;
typedef struct fes_app fes_app;
typedef struct fes_archiver fes_archiver;
typedef struct fes_cancel_token fes_cancel_token;
typedef struct fes_consumer fes_consumer;
typedef struct fes_discarder fes_discarder;
typedef struct fes_error fes_error;
typedef struct fes_events fes_events;
typedef struct fes_options fes_options;
typedef struct fes_receiver fes_receiver;
typedef struct fes_replay fes_replay;
typedef struct fes_rows fes_rows;
typedef struct fes_statement fes_statement;
typedef struct fes_stream fes_stream;
typedef struct fes_subscription fes_subscription;
typedef struct fes_text fes_text;
typedef struct fes_tx fes_tx;
typedef struct fes_warehouse fes_warehouse;
typedef struct {
    uint64_t id;
    const char *column;
    const char *type;
    size_t type_len;
    const char *data;
    size_t data_len;
    const char *ts;
} fes_unreadable;
typedef struct {
    uint64_t id;
    const char *type;
    size_t type_len;
    const char *data;
    size_t data_len;
    int64_t ts;
} fes_event;
typedef struct {
    uint32_t kind;
    int64_t number;
    double real;
    const char *bytes;
    size_t len;
} fes_value;
typedef struct {
    const char *type;
    const char *data;
    size_t data_len;
} fes_new_event;
typedef int32_t (*fes_on_events)(void *user,
                                 uint64_t seq,
                                 const fes_events *events);
typedef void (*fes_on_destroy)(void *user);
typedef void (*fes_on_notice)(void *user,
                              uint32_t notice,
                              uint64_t number,
                              const char *text,
                              const fes_error *error);
typedef void (*fes_on_log)(void *user,
                           uint32_t level,
                           const char *message);
const char *fes_status_name(uint32_t status);
fes_error *fes_error_new(uint32_t code,
                         const char *message);
fes_status fes_error_code(const fes_error *error);
const char *fes_error_name(const fes_error *error);
const char *fes_error_message(const fes_error *error);
const char *fes_error_sql_state(const fes_error *error);
bool fes_error_is_retriable(const fes_error *error);
const fes_unreadable *fes_error_unreadable(const fes_error *error);
void fes_error_free(fes_error *error);
const char *fes_text_data(const fes_text *text,
                          size_t *len);
void fes_text_free(fes_text *text);
const char *fes_version(void);
uint32_t fes_abi_version(void);
uint32_t fes_features(void);
fes_options *fes_options_new(void);
fes_status fes_options_set(fes_options *options,
                           const char *key,
                           const char *value,
                           fes_error **err);
void fes_options_free(fes_options *options);
fes_cancel_token *fes_cancel_token_new(void);
void fes_cancel_token_cancel(const fes_cancel_token *cancel);
bool fes_cancel_token_is_cancelled(const fes_cancel_token *cancel);
void fes_cancel_token_free(fes_cancel_token *cancel);
size_t fes_events_count(const fes_events *events);
const fes_event *fes_events_get(const fes_events *events,
                                size_t index);
fes_status fes_events_json(const fes_events *events,
                           const char **json,
                           size_t *len,
                           fes_error **err);
fes_status fes_events_data_json(const fes_events *events,
                                const char **json,
                                size_t *len,
                                fes_error **err);
int32_t fes_events_refuse(const fes_events *events,
                          const char *why);
void fes_events_free(fes_events *events);
size_t fes_rows_count(const fes_rows *rows);
size_t fes_rows_columns(const fes_rows *rows);
const char *fes_rows_column_name(const fes_rows *rows,
                                 size_t column,
                                 size_t *len);
const fes_value *fes_rows_get(const fes_rows *rows,
                              size_t row,
                              size_t column);
void fes_rows_free(fes_rows *rows);
fes_status fes_event_statement(uint32_t kind,
                               const char *type,
                               const char *data,
                               size_t data_len,
                               const fes_options *options,
                               fes_statement **out,
                               fes_error **err);
fes_status fes_stream_statement(const fes_stream *stream,
                                const char *type,
                                const char *data,
                                size_t data_len,
                                fes_statement **out,
                                fes_error **err);
const char *fes_statement_sql(const fes_statement *statement,
                              size_t *len);
const char *fes_statement_param(const fes_statement *statement,
                                size_t index,
                                size_t *len);
void fes_statement_free(fes_statement *statement);
fes_status fes_stream_open(const char *url,
                           const fes_options *options,
                           fes_stream **out,
                           fes_error **err);
fes_status fes_stream_from_env(const fes_options *options,
                               fes_stream **out,
                               fes_error **err);
void fes_stream_shutdown(const fes_stream *stream);
void fes_stream_close(fes_stream *stream);
uint32_t fes_stream_kind(const fes_stream *stream);
fes_status fes_stream_migrate(const fes_stream *stream,
                              fes_error **err);
fes_status fes_stream_add_event(const fes_stream *stream,
                                const char *type,
                                const char *data,
                                size_t data_len,
                                uint64_t *id,
                                fes_error **err);
fes_status fes_stream_add_events(const fes_stream *stream,
                                 const fes_new_event *events,
                                 size_t count,
                                 size_t event_size,
                                 uint64_t *ids,
                                 fes_error **err);
fes_status fes_stream_lag_json(const fes_stream *stream,
                               fes_text **out,
                               fes_error **err);
fes_status fes_stream_begin(const fes_stream *stream,
                            fes_tx **out,
                            fes_error **err);
fes_status fes_tx_execute(const fes_tx *tx,
                          const char *sql,
                          const fes_value *params,
                          size_t count,
                          uint64_t *rows,
                          fes_error **err);
fes_status fes_tx_query(const fes_tx *tx,
                        const char *sql,
                        const fes_value *params,
                        size_t count,
                        fes_rows **out,
                        fes_error **err);
fes_status fes_tx_add_event(const fes_tx *tx,
                            const char *type,
                            const char *data,
                            size_t data_len,
                            uint64_t *id,
                            fes_error **err);
fes_status fes_tx_add_events(const fes_tx *tx,
                             const fes_new_event *events,
                             size_t count,
                             size_t event_size,
                             uint64_t *ids,
                             fes_error **err);
fes_status fes_tx_commit(const fes_tx *tx,
                         fes_error **err);
fes_status fes_tx_rollback(const fes_tx *tx,
                           fes_error **err);
void fes_tx_free(fes_tx *tx);
fes_status fes_consumer_open(const fes_stream *stream,
                             const char *user,
                             const char *component,
                             fes_consumer **out,
                             fes_error **err);
fes_status fes_consumer_register(const fes_consumer *consumer,
                                 fes_error **err);
fes_status fes_consumer_register_at(const fes_consumer *consumer,
                                    uint32_t start,
                                    int64_t value,
                                    fes_error **err);
fes_status fes_consumer_unregister(const fes_consumer *consumer,
                                   bool *was_registered,
                                   fes_error **err);
fes_status fes_consumer_poll(const fes_consumer *consumer,
                             const uint64_t *last_id,
                             const char *const *types,
                             size_t type_count,
                             size_t limit,
                             uint32_t timeout_ms,
                             const fes_cancel_token *cancel,
                             fes_events **out,
                             fes_error **err);
fes_status fes_consumer_acknowledge(const fes_consumer *consumer,
                                    uint64_t last_id,
                                    fes_error **err);
fes_status fes_consumer_skip(const fes_consumer *consumer,
                             uint64_t id,
                             fes_error **err);
void fes_consumer_close(fes_consumer *consumer);
fes_status fes_stream_subscribe(const fes_stream *stream,
                                const char *user,
                                const char *component,
                                const char *const *types,
                                size_t type_count,
                                const fes_options *options,
                                fes_subscription **out,
                                fes_error **err);
fes_status fes_subscription_next(const fes_subscription *subscription,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_events **out,
                                 uint64_t *seq,
                                 fes_error **err);
fes_status fes_subscription_fd(const fes_subscription *subscription,
                               int *fd,
                               fes_error **err);
fes_status fes_subscription_ack(const fes_subscription *subscription,
                                fes_error **err);
fes_status fes_subscription_skip(const fes_subscription *subscription,
                                 uint64_t id,
                                 fes_error **err);
fes_status fes_subscription_stats(const fes_subscription *subscription,
                                  uint64_t *delivered,
                                  uint64_t *skipped,
                                  uint64_t *overflows,
                                  fes_error **err);
void fes_subscription_close(fes_subscription *subscription);
fes_status fes_receiver_open(const fes_stream *stream,
                             const char *user,
                             const char *component,
                             fes_on_events on_events,
                             void *user_data,
                             fes_on_destroy on_destroy,
                             fes_receiver **out,
                             fes_error **err);
fes_status fes_receiver_set_want(const fes_receiver *receiver,
                                 const char *const *types,
                                 size_t type_count,
                                 fes_error **err);
fes_status fes_receiver_set_options(const fes_receiver *receiver,
                                    const fes_options *options,
                                    fes_error **err);
fes_status fes_receiver_set_poison(const fes_receiver *receiver,
                                   uint32_t poison,
                                   uint32_t count,
                                   fes_error **err);
fes_status fes_receiver_set_on_notice(const fes_receiver *receiver,
                                      fes_on_notice on_notice,
                                      void *user_data,
                                      fes_on_destroy on_destroy,
                                      fes_error **err);
fes_status fes_receiver_start(const fes_receiver *receiver,
                              fes_error **err);
fes_status fes_receiver_stop(const fes_receiver *receiver,
                             fes_error **err);
fes_status fes_receiver_stop_for(const fes_receiver *receiver,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_error **err);
bool fes_receiver_is_running(const fes_receiver *receiver);
fes_status fes_receiver_stats(const fes_receiver *receiver,
                              uint64_t *delivered,
                              uint64_t *skipped,
                              uint64_t *overflows,
                              uint64_t *failures,
                              uint64_t *given_up,
                              fes_error **err);
void fes_receiver_close(fes_receiver *receiver);
fes_status fes_warehouse_open(const char *url,
                              const fes_options *options,
                              fes_warehouse **out,
                              fes_error **err);
fes_status fes_warehouse_from_env(const fes_options *options,
                                  fes_warehouse **out,
                                  fes_error **err);
uint32_t fes_warehouse_kind(const fes_warehouse *warehouse);
fes_status fes_warehouse_migrate(const fes_warehouse *warehouse,
                                 fes_error **err);
fes_status fes_warehouse_history(const fes_warehouse *warehouse,
                                 uint64_t from_id,
                                 const char *const *types,
                                 size_t type_count,
                                 size_t limit,
                                 fes_events **out,
                                 fes_error **err);
void fes_warehouse_shutdown(const fes_warehouse *warehouse);
void fes_warehouse_close(fes_warehouse *warehouse);
fes_status fes_replay_open(const fes_warehouse *warehouse,
                           const fes_stream *stream,
                           uint64_t from_id,
                           const char *const *types,
                           size_t type_count,
                           fes_replay **out,
                           fes_error **err);
fes_status fes_replay_next(const fes_replay *replay,
                           size_t limit,
                           fes_events **out,
                           fes_error **err);
fes_status fes_replay_next_for(const fes_replay *replay,
                               size_t limit,
                               uint32_t timeout_ms,
                               const fes_cancel_token *cancel,
                               fes_events **out,
                               fes_error **err);
uint64_t fes_replay_position(const fes_replay *replay);
void fes_replay_close(fes_replay *replay);
fes_status fes_stream_verify_json(const fes_stream *stream,
                                  const fes_warehouse *warehouse,
                                  uint64_t from_id,
                                  uint64_t to_id,
                                  size_t examples,
                                  fes_text **out,
                                  fes_error **err);
fes_status fes_stream_verify_json_for(const fes_stream *stream,
                                      const fes_warehouse *warehouse,
                                      uint64_t from_id,
                                      uint64_t to_id,
                                      size_t examples,
                                      uint32_t timeout_ms,
                                      const fes_cancel_token *cancel,
                                      fes_text **out,
                                      fes_error **err);
fes_status fes_stream_doctor_json(const fes_stream *stream,
                                  const fes_warehouse *warehouse,
                                  const char *const *roles,
                                  size_t role_count,
                                  fes_text **out,
                                  fes_error **err);
fes_status fes_archiver_open(const fes_stream *stream,
                             const fes_warehouse *warehouse,
                             const fes_options *options,
                             fes_archiver **out,
                             fes_error **err);
fes_status fes_archiver_set_on_notice(const fes_archiver *archiver,
                                      fes_on_notice on_notice,
                                      void *user_data,
                                      fes_on_destroy on_destroy,
                                      fes_error **err);
fes_status fes_archiver_start(const fes_archiver *archiver,
                              fes_error **err);
fes_status fes_archiver_stop(const fes_archiver *archiver,
                             fes_error **err);
fes_status fes_archiver_stop_for(const fes_archiver *archiver,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 fes_error **err);
bool fes_archiver_is_running(const fes_archiver *archiver);
fes_status fes_archiver_run_once(const fes_archiver *archiver,
                                 uint64_t *count,
                                 fes_error **err);
fes_status fes_archiver_run_for(const fes_archiver *archiver,
                                uint32_t timeout_ms,
                                const fes_cancel_token *cancel,
                                uint64_t *count,
                                bool *complete,
                                fes_error **err);
void fes_archiver_close(fes_archiver *archiver);
fes_status fes_discarder_open(const fes_stream *stream,
                              const fes_options *options,
                              fes_discarder **out,
                              fes_error **err);
fes_status fes_discarder_set_on_notice(const fes_discarder *discarder,
                                       fes_on_notice on_notice,
                                       void *user_data,
                                       fes_on_destroy on_destroy,
                                       fes_error **err);
fes_status fes_discarder_start(const fes_discarder *discarder,
                               fes_error **err);
fes_status fes_discarder_stop(const fes_discarder *discarder,
                              fes_error **err);
fes_status fes_discarder_stop_for(const fes_discarder *discarder,
                                  uint32_t timeout_ms,
                                  const fes_cancel_token *cancel,
                                  fes_error **err);
bool fes_discarder_is_running(const fes_discarder *discarder);
fes_status fes_discarder_run_once(const fes_discarder *discarder,
                                  uint64_t *count,
                                  fes_error **err);
fes_status fes_discarder_run_for(const fes_discarder *discarder,
                                 uint32_t timeout_ms,
                                 const fes_cancel_token *cancel,
                                 uint64_t *count,
                                 bool *complete,
                                 fes_error **err);
void fes_discarder_close(fes_discarder *discarder);
fes_status fes_app_open(const char *url,
                        const char *warehouse_url,
                        const fes_options *options,
                        fes_app **out,
                        fes_error **err);
fes_status fes_app_from_env(const fes_options *options,
                            fes_app **out,
                            fes_error **err);
fes_status fes_app_stream(const fes_app *app,
                          fes_stream **out,
                          fes_error **err);
fes_status fes_app_warehouse(const fes_app *app,
                             fes_warehouse **out,
                             fes_error **err);
fes_status fes_app_migrate(const fes_app *app,
                           fes_error **err);
fes_status fes_app_set_on_notice(const fes_app *app,
                                 fes_on_notice on_notice,
                                 void *user_data,
                                 fes_on_destroy on_destroy,
                                 fes_error **err);
fes_status fes_app_start(const fes_app *app,
                         fes_error **err);
fes_status fes_app_stop_for(const fes_app *app,
                            uint32_t timeout_ms,
                            const fes_cancel_token *cancel,
                            fes_error **err);
void fes_app_close(fes_app *app);
fes_status fes_log_set(fes_on_log on_log,
                       void *user_data,
                       fes_on_destroy on_destroy,
                       uint32_t level,
                       fes_error **err);
