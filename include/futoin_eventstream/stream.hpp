/* The stream. */
#ifndef FUTOIN_EVENTSTREAM_STREAM_HPP
#define FUTOIN_EVENTSTREAM_STREAM_HPP

#include "consumer.hpp"
#include "sql.hpp"

namespace fes {

class Warehouse;

/** A stream of events. */
class Stream {
public:
    explicit Stream(const std::string &url, const Options &options = {})
        : Stream(detail::made<fes_stream>([&](auto out, auto err) {
              return fes_stream_open(url.c_str(), options.get(), out, err);
          })) {}
    explicit Stream(fes_stream *stream) : handle_(stream) {}
    /** That of the environment: see `fes_stream_from_env`. */
    static Stream from_env(const Options &options = {}) {
        return Stream(detail::made<fes_stream>(
            [&](auto out, auto err) { return fes_stream_from_env(options.get(), out, err); }));
    }
    explicit operator bool() const { return bool(handle_); }
    fes_stream *get() const noexcept { return handle_.get(); }

    /** Ends calls of other threads: see `fes_stream_shutdown`. */
    void shutdown() noexcept { fes_stream_shutdown(get()); }
    /** A `fes_database_kind`. */
    std::uint32_t kind() const noexcept { return fes_stream_kind(get()); }
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
        const auto plain = detail::plain(events);
        std::vector<std::uint64_t> ids(events.size());
        if (!detail::run([&](auto err) {
                return fes_stream_add_events(get(), plain.data(), plain.size(), sizeof(fes_new_event),
                    ids.data(), err);
            }))
            ids.clear();
        return ids;
    }
    Transaction begin() {
        return Transaction(
            detail::made<fes_tx>([&](auto out, auto err) { return fes_stream_begin(get(), out, err); }));
    }
    Statement statement(const std::string &type, std::string_view data = {}) {
        return Statement(detail::made<fes_statement>([&](auto out, auto err) {
            return fes_stream_statement(get(), type.c_str(), data.data(), data.size(), out, err);
        }));
    }
    Consumer consumer(const std::string &user, const std::string &component) {
        return Consumer(detail::made<fes_consumer>([&](auto out, auto err) {
            return fes_consumer_open(get(), user.c_str(), component.c_str(), out, err);
        }));
    }
    Subscription subscribe(const std::string &user, const std::string &component, const Want &want = {},
                           const Options &options = {}) {
        return Subscription(detail::made<fes_subscription>([&](auto out, auto err) {
            return fes_stream_subscribe(get(), user.c_str(), component.c_str(), want.data(), want.size(),
                                        options.get(), out, err);
        }));
    }
    /** See `fes_stream_lag_json`. */
    std::string lag_json() {
        return json([&](auto out, auto err) { return fes_stream_lag_json(get(), out, err); });
    }
    /** See `fes_stream_doctor_json`. */
    std::string doctor_json(const Warehouse *warehouse = nullptr, const std::vector<std::string> &roles = {});
    /** See `fes_stream_verify_json`. */
    std::string verify_json(const Warehouse *warehouse = nullptr, std::uint64_t from_id = 0,
                            std::uint64_t to_id = 0, std::size_t examples = 20);
    /** See `fes_stream_verify_json_for`. */
    std::string verify_json_for(Milliseconds timeout, const Cancel *cancel = nullptr,
                                const Warehouse *warehouse = nullptr, std::uint64_t from_id = 0,
                                std::uint64_t to_id = 0, std::size_t examples = 20);

private:
    template <class Call> static std::string json(Call call) {
        const detail::Handle<fes_text, fes_text_free> text(detail::made<fes_text>(call));
        std::size_t len = 0;
        const char *data = fes_text_data(text.get(), &len);
        return std::string(detail::view(data, len));
    }

    detail::Handle<fes_stream, fes_stream_close> handle_;
};

} // namespace fes

#endif
