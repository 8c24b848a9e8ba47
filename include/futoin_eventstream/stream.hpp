/* The stream. */
#ifndef FUTOIN_EVENTSTREAM_STREAM_HPP
#define FUTOIN_EVENTSTREAM_STREAM_HPP

#include "consumer.hpp"
#include "sql.hpp"

namespace fes {
inline namespace FES_MODE {

class Warehouse;

/** A stream of events. */
class [[nodiscard]] Stream : public detail::Handle<fes_stream, fes_stream_close> {
public:
    Stream() = default;
    using Owner::Owner;
    explicit Stream(const std::string &url, const Options &options = {}) {
        open([&](auto out, auto err) { return fes_stream_open(url.c_str(), options.get(), out, err); },
             detail::Text{"url", url}, options);
    }
    /** That of the environment: see `fes_stream_from_env`. */
    static Stream from_env(const Options &options = {}) {
        Stream stream;
        stream.open([&](auto out, auto err) { return fes_stream_from_env(options.get(), out, err); }, options);
        return stream;
    }

    /** Ends calls of other threads: see `fes_stream_shutdown`. */
    void shutdown() noexcept { fes_stream_shutdown(get()); }
    /** A `fes_database_kind`. */
    [[nodiscard]] std::uint32_t kind() const noexcept { return fes_stream_kind(get()); }
    FES_CHECKED bool migrate() {
        return run([&](auto err) { return fes_stream_migrate(get(), err); });
    }
    FES_CHECKED std::uint64_t add_event(const std::string &type, const Data &data = {}) {
        std::uint64_t id = 0;
        run(
            [&](auto err) {
                return fes_stream_add_event(get(), type.c_str(), detail::start(data), detail::size(data), &id, err);
            },
            detail::Text{"type", type});
        return id;
    }
    /** The ids, or none after a failure. */
    FES_CHECKED std::vector<std::uint64_t> add_events(const std::vector<NewEvent> &events) {
        const detail::NewEvents plain(events);
        std::vector<std::uint64_t> ids(events.size());
        const auto add = [&](auto err) {
            return fes_stream_add_events(get(), plain.data(), plain.size(), sizeof(fes_new_event), ids.data(), err);
        };
        if (!run(add, plain))
            ids.clear();
        return ids;
    }
    Transaction begin() {
        return make<Transaction>([&](auto out, auto err) { return fes_stream_begin(get(), out, err); });
    }
    Statement statement(const std::string &type, const Data &data = {}) {
        return make<Statement>(
            [&](auto out, auto err) {
                return fes_stream_statement(get(), type.c_str(), detail::start(data), detail::size(data), out, err);
            },
            detail::Text{"type", type});
    }
    Consumer consumer(const std::string &user, const std::string &component) {
        return make<Consumer>(
            [&](auto out, auto err) {
                return fes_consumer_open(get(), user.c_str(), component.c_str(), out, err);
            },
            detail::Text{"user", user}, detail::Text{"component", component});
    }
    Subscription subscribe(const std::string &user, const std::string &component, const Want &want = {},
                           const Options &options = {}) {
        return make<Subscription>(
            [&](auto out, auto err) {
                return fes_stream_subscribe(get(), user.c_str(), component.c_str(), want.data(), want.size(),
                                            options.get(), out, err);
            },
            detail::Text{"user", user}, detail::Text{"component", component}, want, options);
    }
    /** See `fes_stream_lag_json`. */
    FES_CHECKED std::string lag_json() {
        return json([&](auto out, auto err) { return fes_stream_lag_json(get(), out, err); });
    }
    /** See `fes_stream_doctor_json`. */
    FES_CHECKED std::string doctor_json(const Warehouse *warehouse = nullptr,
                                        const std::vector<std::string> &roles = {});
    /** See `fes_stream_verify_json`. */
    FES_CHECKED std::string verify_json(const Warehouse *warehouse = nullptr, std::uint64_t from_id = 0,
                                        std::uint64_t to_id = 0, std::size_t examples = 20);
    /** See `fes_stream_verify_json_for`. */
    FES_CHECKED std::string verify_json_for(Milliseconds timeout, const Cancel *cancel = nullptr,
                                            const Warehouse *warehouse = nullptr, std::uint64_t from_id = 0,
                                            std::uint64_t to_id = 0, std::size_t examples = 20);

private:
    using JsonText = detail::Handle<fes_text, fes_text_free>;

    template <typename F, typename... Given> std::string json(F call, const Given &...given) const {
        const auto text = make<JsonText>(call, given...);
        std::size_t len = 0;
        const char *data = fes_text_data(text.get(), &len);
        return std::string(detail::view(data, len));
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
