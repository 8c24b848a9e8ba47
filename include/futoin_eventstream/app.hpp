/* The service app. */
#ifndef FUTOIN_EVENTSTREAM_APP_HPP
#define FUTOIN_EVENTSTREAM_APP_HPP

#include "history.hpp"

namespace fes {

/** Stream, archiver and discarder from one configuration. Set `on_notice` before `start`. */
class App : public detail::WithCallbacks<fes_app, fes_app_close> {
public:
    /** `warehouse` may be empty. */
    App(const std::string &url, const std::string &warehouse, const Options &options = {})
        : App(detail::made<fes_app>([&](auto out, auto err) {
              const char *dwh = warehouse.empty() ? nullptr : warehouse.c_str();
              return fes_app_open(url.c_str(), dwh, options.get(), out, err);
          })) {}
    explicit App(fes_app *app) { handle_.reset(app); }
    /** That of the environment: see `fes_app_from_env`. */
    static App from_env(const Options &options = {}) {
        return App(detail::made<fes_app>(
            [&](auto out, auto err) { return fes_app_from_env(options.get(), out, err); }));
    }
    /** Closing it closes the app's stream, too. */
    Stream stream() const {
        return Stream(
            detail::made<fes_stream>([&](auto out, auto err) { return fes_app_stream(get(), out, err); }));
    }
    /** Closing it closes the app's warehouse, too. */
    Warehouse warehouse() const {
        return Warehouse(detail::made<fes_warehouse>(
            [&](auto out, auto err) { return fes_app_warehouse(get(), out, err); }));
    }
    bool migrate() {
        return detail::run([&](auto err) { return fes_app_migrate(get(), err); });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_app_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_app_start(get(), err); });
    }
    bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return detail::run([&](auto err) {
            return fes_app_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
};

} // namespace fes

#endif
