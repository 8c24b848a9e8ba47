/*
 * futoin-eventstream for C++17: handles that close themselves over futoin_eventstream.h, which tells what
 * every function does, its threads, and what callbacks may do.
 *
 *     fes::Stream stream("sqlite:app.db");
 *     stream.migrate();
 *     auto audit = stream.consumer("app", "Audit");
 *     audit.register_();
 *     stream.add_event("USR_ADD", R"({"id":1})");
 *     for (fes::Event event : audit.poll({}, {"USR_ADD"}, 1s)) {
 *         std::cout << event.id << ' ' << event.type << ' ' << event.data << '\n';
 *         audit.acknowledge(event.id);
 *     }
 *
 * A failure throws fes::Error, which has the status. With FES_NO_EXCEPTIONS defined before the include (or
 * -fno-exceptions), nothing is thrown: a failure is kept for the thread, fes::last_error() gives it until the
 * next call that succeeds clears it, and a handle whose making failed is false in a condition.
 *
 * Handles are moved, not copied. A moved-from or failed handle may be asked anything and gives
 * FES_INVALID_ARGUMENT. Views (std::string_view) live as long as what they were taken from.
 */
#ifndef FUTOIN_EVENTSTREAM_HPP
#define FUTOIN_EVENTSTREAM_HPP

#include "futoin_eventstream.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if !defined(FES_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define FES_NO_EXCEPTIONS
#endif

namespace fes {

using Milliseconds = std::chrono::milliseconds;

/** A wait without an end. */
inline constexpr Milliseconds forever = Milliseconds::max();

/** A failure: see `fes_error`. */
class Error : public std::runtime_error {
public:
    explicit Error(const fes_error *error)
        : std::runtime_error(fes_error_message(error)), code_(fes_error_code(error)),
          retriable_(fes_error_is_retriable(error)), sql_state_(fes_error_sql_state(error)) {}

    fes_status code() const noexcept { return code_; }
    std::string_view name() const noexcept { return fes_status_name(code_); }
    bool is_retriable() const noexcept { return retriable_; }
    const std::string &sql_state() const noexcept { return sql_state_; }

private:
    fes_status code_;
    bool retriable_;
    std::string sql_state_;
};

#ifdef FES_NO_EXCEPTIONS
namespace detail {
inline std::optional<Error> &last() {
    thread_local std::optional<Error> error;
    return error;
}
} // namespace detail

/** What the last call of this thread failed with, if it failed. */
inline const std::optional<Error> &last_error() { return detail::last(); }
#endif

namespace detail {

/** Takes the error of a call: throws it, or keeps it. */
class Check {
public:
    Check() = default;
    Check(const Check &) = delete;
    Check &operator=(const Check &) = delete;
    ~Check() { fes_error_free(error_); }

    fes_error **place() { return &error_; }

    bool operator()(fes_status status) {
#ifdef FES_NO_EXCEPTIONS
        last().reset();
        if (status != FES_OK)
            last().emplace(error_);
#else
        if (status != FES_OK)
            throw Error(error_);
#endif
        return status == FES_OK;
    }

private:
    fes_error *error_ = nullptr;
};

template <typename T, void (*free)(T *)> struct Free {
    void operator()(T *handle) const { free(handle); }
};
template <typename T, void (*free)(T *)> using Handle = std::unique_ptr<T, Free<T, free>>;

/** Calls `make(out, err)` and gives the handle. */
template <typename H, typename F> H make(F call) {
    typename H::pointer out = nullptr;
    Check check;
    check(call(&out, check.place()));
    return H(out);
}

/** Calls `run(err)`. */
template <typename F> bool run(F call) {
    Check check;
    return check(call(check.place()));
}

inline std::uint32_t milliseconds(Milliseconds time) {
    if (time.count() >= static_cast<Milliseconds::rep>(FES_FOREVER))
        return FES_FOREVER;
    return time.count() < 0 ? 0 : static_cast<std::uint32_t>(time.count());
}

} // namespace detail

/** The event types that are wanted; none means all. */
class Want {
public:
    Want() = default;
    Want(std::initializer_list<const char *> types) : names_(types.begin(), types.end()) { point(); }
    explicit Want(std::vector<std::string> types) : names_(std::move(types)) { point(); }
    Want(const Want &other) : names_(other.names_) { point(); }
    Want &operator=(const Want &other) {
        names_ = other.names_;
        point();
        return *this;
    }

    const char *const *data() const { return types_.empty() ? nullptr : types_.data(); }
    std::size_t size() const { return types_.size(); }

private:
    void point() {
        types_.clear();
        for (const std::string &name : names_)
            types_.push_back(name.c_str());
    }
    std::vector<std::string> names_;
    std::vector<const char *> types_;
};

/** One event; its views live as long as its `Events`. */
struct Event {
    std::uint64_t id;
    std::string_view type;
    std::string_view data;
    std::chrono::system_clock::time_point ts;
};

/** A batch of events, to be iterated over. */
class Events {
public:
    Events() = default;
    explicit Events(fes_events *events) : own_(events), events_(events) {}

    /** What a callback was given, and keeps. */
    static Events borrowed(const fes_events *events) {
        Events out;
        out.events_ = events;
        return out;
    }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Event;
        using difference_type = std::ptrdiff_t;
        using pointer = const Event *;
        using reference = Event;

        explicit Iterator(const fes_event *at) : at_(at) {}
        Event operator*() const { return view(*at_); }
        Iterator &operator++() {
            ++at_;
            return *this;
        }
        bool operator==(const Iterator &other) const { return at_ == other.at_; }
        bool operator!=(const Iterator &other) const { return at_ != other.at_; }

    private:
        const fes_event *at_;
    };

    std::size_t size() const { return fes_events_count(events_); }
    bool empty() const { return size() == 0; }
    Event operator[](std::size_t index) const { return view(*fes_events_get(events_, index)); }
    Event back() const { return (*this)[size() - 1]; }
    Iterator begin() const { return Iterator(fes_events_get(events_, 0)); }
    Iterator end() const { return Iterator(empty() ? nullptr : fes_events_get(events_, 0) + size()); }

    /** All as one JSON array. */
    std::string_view json() const {
        const char *text = nullptr;
        std::size_t len = 0;
        detail::run([&](auto err) { return fes_events_json(events_, &text, &len, err); });
        return text ? std::string_view(text, len) : std::string_view();
    }

private:
    static Event view(const fes_event &event) {
        const std::chrono::system_clock::time_point ts{std::chrono::seconds(event.ts)};
        return {event.id, {event.type, event.type_len}, {event.data, event.data_len}, ts};
    }
    detail::Handle<fes_events, fes_events_free> own_;
    const fes_events *events_ = nullptr;
};

/** Options that differ from their defaults. */
class Options {
public:
    Options() : handle_(fes_options_new()) {}
    Options(std::initializer_list<std::pair<const char *, const char *>> options) : Options() {
        for (const auto &[key, value] : options)
            set(key, value);
    }
    Options &set(const std::string &key, const std::string &value) {
        detail::run([&](auto err) { return fes_options_set(get(), key.c_str(), value.c_str(), err); });
        return *this;
    }
    fes_options *get() const { return handle_.get(); }

private:
    detail::Handle<fes_options, fes_options_free> handle_;
};

/** Ends waits from another thread, or a signal handler. */
class Cancel {
public:
    Cancel() : handle_(fes_cancel_new()) {}
    void cancel() const noexcept { fes_cancel_cancel(get()); }
    bool is_cancelled() const noexcept { return fes_cancel_is_cancelled(get()); }
    fes_cancel *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<fes_cancel, fes_cancel_free> handle_;
};

namespace detail {
inline const fes_cancel *token(const Cancel *cancel) { return cancel ? cancel->get() : nullptr; }
} // namespace detail

/** An SQL value: a parameter, which copies, or a column, which does not. */
class Value {
public:
    Value(std::nullptr_t) {}
    Value(bool flag) : value_{FES_BOOL, flag, 0, nullptr, 0} {}
    Value(int number) : value_{FES_INT, number, 0, nullptr, 0} {}
    Value(std::int64_t number) : value_{FES_INT, number, 0, nullptr, 0} {}
    Value(std::uint64_t number) : value_{FES_UINT, static_cast<std::int64_t>(number), 0, nullptr, 0} {}
    Value(double number) : value_{FES_REAL, 0, number, nullptr, 0} {}
    Value(const char *text) : Value(std::string_view(text)) {}
    Value(const std::string &text) : Value(std::string_view(text)) {}
    /** Borrowed until the call with it has returned. */
    Value(std::string_view text) : value_{FES_TEXT, 0, 0, text.data(), text.size()} {}
    explicit Value(const fes_value &value) : value_(value) {}

    bool is_null() const { return value_.kind == FES_NULL; }
    std::int64_t integer() const { return value_.number; }
    double real() const { return value_.real; }
    std::string_view text() const {
        return value_.bytes ? std::string_view(value_.bytes, value_.len) : std::string_view();
    }
    const fes_value &get() const { return value_; }

private:
    fes_value value_{FES_NULL, 0, 0, nullptr, 0};
};

/** The rows of a query. */
class Rows {
public:
    explicit Rows(fes_rows *rows) : handle_(rows) {}
    std::size_t size() const { return fes_rows_count(handle_.get()); }
    std::size_t columns() const { return fes_rows_columns(handle_.get()); }
    /** Null for a place that is not there. */
    Value at(std::size_t row, std::size_t column) const {
        const fes_value *value = fes_rows_get(handle_.get(), row, column);
        return value ? Value(*value) : Value(nullptr);
    }

private:
    detail::Handle<fes_rows, fes_rows_free> handle_;
};

/** The SQL and parameters that add an event on a connection of the caller's own. */
class Statement {
public:
    explicit Statement(fes_statement *statement) : handle_(statement) {}
    Statement(fes_database kind, const std::string &type, std::string_view data, const Options &options = {})
        : handle_(detail::make<decltype(handle_)>([&](auto out, auto err) {
              return fes_event_statement(kind, type.c_str(), data.data(), data.size(), options.get(), out, err);
          })) {}
    explicit operator bool() const { return bool(handle_); }
    std::string_view sql() const { return text(fes_statement_sql(handle_.get(), nullptr)); }
    std::string_view type() const { return text(fes_statement_param(handle_.get(), 0, nullptr)); }
    std::string_view data() const { return text(fes_statement_param(handle_.get(), 1, nullptr)); }

private:
    static std::string_view text(const char *text) { return text ? text : std::string_view(); }
    detail::Handle<fes_statement, fes_statement_free> handle_;
};

/** A transaction; rolled back unless it is committed. */
class Transaction {
public:
    explicit Transaction(fes_tx *tx) : handle_(tx) {}
    explicit operator bool() const { return bool(handle_); }

    std::uint64_t execute(const std::string &sql, const std::vector<Value> &params = {}) {
        std::uint64_t rows = 0;
        const auto values = plain(params);
        detail::run([&](auto err) {
            return fes_tx_execute(handle_.get(), sql.c_str(), values.data(), values.size(), &rows, err);
        });
        return rows;
    }

    Rows query(const std::string &sql, const std::vector<Value> &params = {}) {
        const auto values = plain(params);
        return Rows(detail::make<detail::Handle<fes_rows, fes_rows_free>>([&](auto out, auto err) {
                        return fes_tx_query(handle_.get(), sql.c_str(), values.data(), values.size(), out, err);
                    }).release());
    }

    std::uint64_t add_event(const std::string &type, std::string_view data = {}) {
        std::uint64_t id = 0;
        detail::run([&](auto err) {
            return fes_tx_add_event(handle_.get(), type.c_str(), data.data(), data.size(), &id, err);
        });
        return id;
    }

    bool commit() {
        return detail::run([&](auto err) { return fes_tx_commit(handle_.get(), err); });
    }
    bool rollback() {
        return detail::run([&](auto err) { return fes_tx_rollback(handle_.get(), err); });
    }

private:
    static std::vector<fes_value> plain(const std::vector<Value> &params) {
        std::vector<fes_value> values;
        for (const Value &value : params)
            values.push_back(value.get());
        return values;
    }
    detail::Handle<fes_tx, fes_tx_free> handle_;
};

/** A consumer that polls. */
class Consumer {
public:
    explicit Consumer(fes_consumer *consumer) : handle_(consumer) {}
    explicit operator bool() const { return bool(handle_); }

    bool register_() {
        return detail::run([&](auto err) { return fes_consumer_register(handle_.get(), err); });
    }
    bool register_at(fes_start start, std::int64_t value = 0) {
        return detail::run(
            [&](auto err) { return fes_consumer_register_at(handle_.get(), start, value, err); });
    }
    /** Whether it was registered. */
    bool unregister() {
        bool was = false;
        detail::run([&](auto err) { return fes_consumer_unregister(handle_.get(), &was, err); });
        return was;
    }

    Events poll(std::optional<std::uint64_t> last_id = {}, const Want &want = {},
                Milliseconds timeout = Milliseconds(0), const Cancel *cancel = nullptr,
                std::size_t limit = 0) {
        return Events(detail::make<detail::Handle<fes_events, fes_events_free>>([&](auto out, auto err) {
                          return fes_consumer_poll(handle_.get(), last_id ? &*last_id : nullptr,
                                                   want.data(), want.size(), limit,
                                                   detail::milliseconds(timeout), detail::token(cancel),
                                                   out, err);
                      }).release());
    }

    bool acknowledge(std::uint64_t last_id) {
        return detail::run(
            [&](auto err) { return fes_consumer_acknowledge(handle_.get(), last_id, err); });
    }

private:
    detail::Handle<fes_consumer, fes_consumer_close> handle_;
};

/** A delivery of a subscription. */
struct Delivery {
    std::uint64_t seq = 0;
    Events events;
};

/** A consumer that is pushed to. Iterating waits for deliveries, and acknowledges each when the next one is
 *  asked for, until `cancel` ends it. */
class Subscription {
public:
    explicit Subscription(fes_subscription *subscription) : handle_(subscription) {}
    explicit operator bool() const { return bool(handle_); }

    /** Nothing if there is none in time. */
    std::optional<Delivery> next(Milliseconds timeout, const Cancel *cancel = nullptr) {
        fes_events *events = nullptr;
        Delivery delivery;
        detail::run([&](auto err) {
            return fes_subscription_next(handle_.get(), detail::milliseconds(timeout), detail::token(cancel),
                                         &events, &delivery.seq, err);
        });
        if (!events)
            return {};
        delivery.events = Events(events);
        return delivery;
    }
    bool ack() {
        return detail::run([&](auto err) { return fes_subscription_ack(handle_.get(), err); });
    }

    class Deliveries {
    public:
        struct End {};
        class Iterator {
        public:
            explicit Iterator(Deliveries *range) : range_(range) { range_->advance(); }
            Delivery &operator*() const { return *range_->current_; }
            Iterator &operator++() {
                if (range_->subscription_.ack())
                    range_->advance();
                else
                    range_->current_.reset();
                return *this;
            }
            bool operator!=(End) const { return range_->current_.has_value(); }

        private:
            Deliveries *range_;
        };
        Iterator begin() { return Iterator(this); }
        End end() { return {}; }

    private:
        friend class Subscription;
        Deliveries(Subscription &subscription, const Cancel &cancel)
            : subscription_(subscription), cancel_(cancel) {}

        void advance() {
            current_.reset();
            while (!current_ && !cancel_.is_cancelled()) {
                current_ = subscription_.next(Milliseconds(25)); // the end by `cancel` is no failure
#ifdef FES_NO_EXCEPTIONS
                if (last_error())
                    return;
#endif
            }
        }
        Subscription &subscription_;
        const Cancel &cancel_;
        std::optional<Delivery> current_;
    };

    /** For `for (fes::Delivery &delivery : subscription.deliveries(cancel))`. */
    Deliveries deliveries(const Cancel &cancel) { return Deliveries(*this, cancel); }

private:
    detail::Handle<fes_subscription, fes_subscription_close> handle_;
};

/** What receivers, archivers, discarders and apps tell: see `fes_on_notice`. */
struct Notice {
    std::uint32_t kind;
    std::uint64_t number;
    std::string_view text;
    const fes_error *error;
};
using OnNotice = std::function<void(const Notice &)>;
/** Gives whether the events are acknowledged; throwing brings them again, too. */
using OnEvents = std::function<bool(std::uint64_t seq, const Events &events)>;

namespace detail {
/** The functions of a handle, at a place that does not move. */
struct Callbacks {
    OnEvents on_events;
    OnNotice on_notice;

    static std::int32_t events(void *user, std::uint64_t seq, const fes_events *events) {
#ifndef FES_NO_EXCEPTIONS
        try {
            return static_cast<Callbacks *>(user)->on_events(seq, Events::borrowed(events)) ? 0 : 1;
        } catch (...) {
            return 2;
        }
#else
        return static_cast<Callbacks *>(user)->on_events(seq, Events::borrowed(events)) ? 0 : 1;
#endif
    }
    static void notice(void *user, std::uint32_t kind, std::uint64_t number, const char *text,
                       const fes_error *error) {
#ifndef FES_NO_EXCEPTIONS
        try {
            static_cast<Callbacks *>(user)->on_notice({kind, number, text, error});
        } catch (...) { // of no use to anybody
        }
#else
        static_cast<Callbacks *>(user)->on_notice({kind, number, text, error});
#endif
    }
};

/** A handle with its callbacks, which live until it is closed. */
template <typename T, void (*close)(T *)> class WithCallbacks {
public:
    explicit WithCallbacks(std::unique_ptr<Callbacks> callbacks = std::make_unique<Callbacks>())
        : callbacks_(std::move(callbacks)) {}
    explicit operator bool() const { return bool(handle_); }
    T *get() const { return handle_.get(); }

protected:
    template <typename Set> bool tell(OnNotice on_notice, Set set) {
        callbacks_->on_notice = std::move(on_notice);
        return run([&](auto err) { return set(get(), Callbacks::notice, callbacks_.get(), err); });
    }
    std::unique_ptr<Callbacks> callbacks_; // dropped after the handle
    Handle<T, close> handle_;
};
} // namespace detail

/** All history, in a database of its own. */
class Warehouse {
public:
    explicit Warehouse(const std::string &url, const Options &options = {})
        : handle_(detail::make<decltype(handle_)>([&](auto out, auto err) {
              return fes_warehouse_open(url.c_str(), options.get(), out, err);
          })) {}
    explicit operator bool() const { return bool(handle_); }
    bool migrate() {
        return detail::run([&](auto err) { return fes_warehouse_migrate(get(), err); });
    }
    Events history(std::uint64_t from_id, std::size_t limit, const Want &want = {}) {
        return Events(detail::make<detail::Handle<fes_events, fes_events_free>>([&](auto out, auto err) {
                          return fes_warehouse_history(get(), from_id, want.data(), want.size(), limit, out,
                                                       err);
                      }).release());
    }
    fes_warehouse *get() const { return handle_.get(); }

private:
    detail::Handle<fes_warehouse, fes_warehouse_close> handle_;
};

/** An event to be added: its type and JSON text. */
struct NewEvent {
    std::string type;
    std::string data = "null";
};

/** A stream of events. */
class Stream {
public:
    explicit Stream(const std::string &url, const Options &options = {})
        : handle_(detail::make<decltype(handle_)>([&](auto out, auto err) {
              return fes_stream_open(url.c_str(), options.get(), out, err);
          })) {}
    explicit Stream(fes_stream *stream) : handle_(stream) {}
    explicit operator bool() const { return bool(handle_); }
    fes_stream *get() const { return handle_.get(); }

    bool migrate() {
        return detail::run([&](auto err) { return fes_stream_migrate(get(), err); });
    }
    std::uint64_t add_event(const std::string &type, std::string_view data = {}) {
        std::uint64_t id = 0;
        detail::run([&](auto err) {
            return fes_stream_add_event(get(), type.c_str(), data.data(), data.size(), &id, err);
        });
        return id;
    }
    /** The ids, or none after a failure. */
    std::vector<std::uint64_t> add_events(const std::vector<NewEvent> &events) {
        std::vector<fes_new_event> plain;
        for (const NewEvent &event : events)
            plain.push_back({event.type.c_str(), event.data.data(), event.data.size()});
        std::vector<std::uint64_t> ids(events.size());
        if (!detail::run([&](auto err) {
                return fes_stream_add_events(get(), plain.data(), plain.size(), ids.data(), err);
            }))
            ids.clear();
        return ids;
    }
    Transaction begin() {
        using H = detail::Handle<fes_tx, fes_tx_free>;
        return Transaction(
            detail::make<H>([&](auto out, auto err) { return fes_stream_begin(get(), out, err); }).release());
    }
    Statement statement(const std::string &type, std::string_view data = {}) {
        using H = detail::Handle<fes_statement, fes_statement_free>;
        return Statement(detail::make<H>([&](auto out, auto err) {
                             return fes_stream_statement(get(), type.c_str(), data.data(), data.size(), out, err);
                         }).release());
    }
    Consumer consumer(const std::string &user, const std::string &component) {
        using H = detail::Handle<fes_consumer, fes_consumer_close>;
        return Consumer(detail::make<H>([&](auto out, auto err) {
                            return fes_consumer_open(get(), user.c_str(), component.c_str(), out, err);
                        }).release());
    }
    Subscription subscribe(const std::string &user, const std::string &component, const Want &want = {},
                           const Options &options = {}) {
        using H = detail::Handle<fes_subscription, fes_subscription_close>;
        return Subscription(detail::make<H>([&](auto out, auto err) {
                                return fes_stream_subscribe(get(), user.c_str(), component.c_str(),
                                                            want.data(), want.size(), options.get(), out, err);
                            }).release());
    }
    /** See `fes_stream_lag_json`. */
    std::string lag_json() {
        using H = detail::Handle<fes_text, fes_text_free>;
        const H text =
            detail::make<H>([&](auto out, auto err) { return fes_stream_lag_json(get(), out, err); });
        std::size_t len = 0;
        const char *data = fes_text_data(text.get(), &len);
        return data ? std::string(data, len) : std::string();
    }

private:
    detail::Handle<fes_stream, fes_stream_close> handle_;
};

/** All history and then the active events, as one stream. */
class Replay {
public:
    Replay(const Warehouse &warehouse, const Stream &stream, std::uint64_t from_id, const Want &want = {})
        : handle_(detail::make<decltype(handle_)>([&](auto out, auto err) {
              return fes_replay_open(warehouse.get(), stream.get(), from_id, want.data(), want.size(), out, err);
          })) {}
    explicit operator bool() const { return bool(handle_); }
    /** None if there are no more now. */
    Events next(std::size_t limit) {
        return Events(detail::make<detail::Handle<fes_events, fes_events_free>>([&](auto out, auto err) {
                          return fes_replay_next(handle_.get(), limit, out, err);
                      }).release());
    }
    std::uint64_t position() const { return fes_replay_position(handle_.get()); }

private:
    detail::Handle<fes_replay, fes_replay_close> handle_;
};

/** A consumer that is called back; its destructor waits for the last call. */
class Receiver : public detail::WithCallbacks<fes_receiver, fes_receiver_close> {
public:
    Receiver(const Stream &stream, const std::string &user, const std::string &component, OnEvents on_events) {
        callbacks_->on_events = std::move(on_events);
        handle_ = detail::make<decltype(handle_)>([&](auto out, auto err) {
            return fes_receiver_open(stream.get(), user.c_str(), component.c_str(),
                                     detail::Callbacks::events, callbacks_.get(), out, err);
        });
    }
    bool want(const Want &want) {
        return detail::run(
            [&](auto err) { return fes_receiver_set_want(get(), want.data(), want.size(), err); });
    }
    bool options(const Options &options) {
        return detail::run([&](auto err) { return fes_receiver_set_options(get(), options.get(), err); });
    }
    bool poison(fes_poison poison, std::uint32_t count = 0) {
        return detail::run([&](auto err) { return fes_receiver_set_poison(get(), poison, count, err); });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_receiver_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_receiver_start(get(), err); });
    }
    bool stop() {
        return detail::run([&](auto err) { return fes_receiver_stop(get(), err); });
    }
};

/** Copies a stream to a warehouse. Set `on_notice` before `start`. */
class Archiver : public detail::WithCallbacks<fes_archiver, fes_archiver_close> {
public:
    Archiver(const Stream &stream, const Warehouse &warehouse, const Options &options = {}) {
        handle_ = detail::make<decltype(handle_)>([&](auto out, auto err) {
            return fes_archiver_open(stream.get(), warehouse.get(), options.get(), out, err);
        });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_archiver_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_archiver_start(get(), err); });
    }
    bool stop() {
        return detail::run([&](auto err) { return fes_archiver_stop(get(), err); });
    }
    std::uint64_t run_once() {
        std::uint64_t count = 0;
        detail::run([&](auto err) { return fes_archiver_run_once(get(), &count, err); });
        return count;
    }
};

/** Deletes what everybody has acknowledged. Set `on_notice` before `start`. */
class Discarder : public detail::WithCallbacks<fes_discarder, fes_discarder_close> {
public:
    explicit Discarder(const Stream &stream, const Options &options = {}) {
        handle_ = detail::make<decltype(handle_)>([&](auto out, auto err) {
            return fes_discarder_open(stream.get(), options.get(), out, err);
        });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_discarder_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_discarder_start(get(), err); });
    }
    bool stop() {
        return detail::run([&](auto err) { return fes_discarder_stop(get(), err); });
    }
    std::uint64_t run_once() {
        std::uint64_t count = 0;
        detail::run([&](auto err) { return fes_discarder_run_once(get(), &count, err); });
        return count;
    }
};

/** Stream, archiver and discarder from one configuration. Set `on_notice` before `start`. */
class App : public detail::WithCallbacks<fes_app, fes_app_close> {
public:
    /** `warehouse` may be empty. */
    App(const std::string &url, const std::string &warehouse, const Options &options = {}) {
        handle_ = detail::make<decltype(handle_)>([&](auto out, auto err) {
            const char *dwh = warehouse.empty() ? nullptr : warehouse.c_str();
            return fes_app_open(url.c_str(), dwh, options.get(), out, err);
        });
    }
    /** Closing it closes the app's stream, too. */
    Stream stream() const {
        using H = detail::Handle<fes_stream, fes_stream_close>;
        return Stream(
            detail::make<H>([&](auto out, auto err) { return fes_app_stream(get(), out, err); }).release());
    }
    bool migrate() {
        return detail::run([&](auto err) { return fes_app_migrate(get(), err); });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_app_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_app_start(get(), err); });
    }
};

} // namespace fes

#endif
