/* The service app. */
#ifndef FUTOIN_EVENTSTREAM_APP_HPP
#define FUTOIN_EVENTSTREAM_APP_HPP

#include "history.hpp"

namespace fes {
inline namespace FES_MODE {

/** Stream, archiver and discarder from one configuration. Set `on_notice` before `start`. */
class [[nodiscard]] App : public detail::WithCallbacks<fes_app, fes_app_close> {
public:
    App() = default;
    using WithCallbacks::WithCallbacks;
    /** `warehouse` may be std::nullopt: no history then. */
    App(const std::string &url, const std::optional<std::string> &warehouse, const Options &options = {}) {
        open(
            [&](auto out, auto err) {
                const char *history = warehouse ? warehouse->c_str() : nullptr;
                return fes_app_open(url.c_str(), history, options.get(), out, err);
            },
            detail::Text{"url", url}, detail::Text{"warehouse", warehouse ? *warehouse : std::string_view()}, options);
    }
    /** That of the environment: see `fes_app_from_env`. */
    static App from_env(const Options &options = {}) {
        App app;
        app.open([&](auto out, auto err) { return fes_app_from_env(options.get(), out, err); }, options);
        return app;
    }
    /** Closing it closes the app's stream, too. */
    Stream stream() const {
        return make<Stream>([&](auto out, auto err) { return fes_app_stream(get(), out, err); });
    }
    /** Closing it closes the app's warehouse, too. */
    Warehouse warehouse() const {
        return make<Warehouse>([&](auto out, auto err) { return fes_app_warehouse(get(), out, err); });
    }
    FES_CHECKED bool migrate() {
        return run([&](auto err) { return fes_app_migrate(get(), err); });
    }
    FES_CHECKED bool on_notice(OnNotice call) { return tell(std::move(call), fes_app_set_on_notice); }
    FES_CHECKED bool start() {
        return run([&](auto err) { return fes_app_start(get(), err); });
    }
    FES_CHECKED bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return run([&](auto err) {
            return fes_app_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
