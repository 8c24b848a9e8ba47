/* The history: warehouse, replay, archiver, discarder. */
#ifndef FUTOIN_EVENTSTREAM_HISTORY_HPP
#define FUTOIN_EVENTSTREAM_HISTORY_HPP

#include "receiver.hpp"

namespace fes {

/** All history, in a database of its own. */
class Warehouse {
public:
    explicit Warehouse(const std::string &url, const Options &options = {})
        : Warehouse(detail::made<fes_warehouse>([&](auto out, auto err) {
              return fes_warehouse_open(url.c_str(), options.get(), out, err);
          })) {}
    explicit Warehouse(fes_warehouse *warehouse) : handle_(warehouse) {}
    /** That of the environment: see `fes_warehouse_from_env`. */
    static Warehouse from_env(const Options &options = {}) {
        return Warehouse(detail::made<fes_warehouse>(
            [&](auto out, auto err) { return fes_warehouse_from_env(options.get(), out, err); }));
    }
    explicit operator bool() const { return bool(handle_); }
    fes_warehouse *get() const noexcept { return handle_.get(); }

    /** Ends calls of other threads: see `fes_warehouse_shutdown`. */
    void shutdown() noexcept { fes_warehouse_shutdown(get()); }
    /** A `fes_database_kind`. */
    std::uint32_t kind() const noexcept { return fes_warehouse_kind(get()); }
    bool migrate() {
        return detail::run([&](auto err) { return fes_warehouse_migrate(get(), err); });
    }
    Events history(std::uint64_t from_id, std::size_t limit, const Want &want = {}) {
        return Events(detail::made<fes_events>([&](auto out, auto err) {
            return fes_warehouse_history(get(), from_id, want.data(), want.size(), limit, out, err);
        }));
    }

private:
    detail::Handle<fes_warehouse, fes_warehouse_close> handle_;
};

inline std::string Stream::doctor_json(const Warehouse *warehouse, const std::vector<std::string> &roles) {
    fes_warehouse *history = warehouse ? warehouse->get() : nullptr;
    std::vector<const char *> names;
    for (const std::string &role : roles)
        names.push_back(role.c_str());
    return json([&](auto out, auto err) {
        return fes_stream_doctor_json(get(), history, names.data(), names.size(), out, err);
    });
}

inline std::string Stream::verify_json(const Warehouse *warehouse, std::uint64_t from_id, std::uint64_t to_id,
                                       std::size_t examples) {
    fes_warehouse *history = warehouse ? warehouse->get() : nullptr;
    return json([&](auto out, auto err) {
        return fes_stream_verify_json(get(), history, from_id, to_id, examples, out, err);
    });
}

inline std::string Stream::verify_json_for(Milliseconds timeout, const Cancel *cancel, const Warehouse *warehouse,
                                           std::uint64_t from_id, std::uint64_t to_id, std::size_t examples) {
    fes_warehouse *history = warehouse ? warehouse->get() : nullptr;
    return json([&](auto out, auto err) {
        return fes_stream_verify_json_for(get(), history, from_id, to_id, examples, detail::milliseconds(timeout),
                                          detail::token(cancel), out, err);
    });
}

/** All history and then the active events, as one stream. */
class Replay {
public:
    Replay(const Warehouse &warehouse, const Stream &stream, std::uint64_t from_id, const Want &want = {})
        : handle_(detail::made<fes_replay>([&](auto out, auto err) {
              return fes_replay_open(warehouse.get(), stream.get(), from_id, want.data(), want.size(), out, err);
          })) {}
    explicit operator bool() const { return bool(handle_); }
    /** None if there are no more now. */
    Events next(std::size_t limit) {
        return Events(detail::made<fes_events>(
            [&](auto out, auto err) { return fes_replay_next(handle_.get(), limit, out, err); }));
    }
    /** None if there was none in time. */
    Events next_for(std::size_t limit, Milliseconds timeout, const Cancel *cancel = nullptr) {
        return Events(detail::made<fes_events>([&](auto out, auto err) {
            return fes_replay_next_for(handle_.get(), limit, detail::milliseconds(timeout),
                                       detail::token(cancel), out, err);
        }));
    }
    std::uint64_t position() const { return fes_replay_position(handle_.get()); }

private:
    detail::Handle<fes_replay, fes_replay_close> handle_;
};

/** What a limited run of an archiver or a discarder came to. */
struct Run {
    std::uint64_t count = 0;
    /** Whether there was nothing more to do. */
    bool complete = false;
};

/** Copies a stream to a warehouse. Set `on_notice` before `start`. */
class Archiver : public detail::WithCallbacks<fes_archiver, fes_archiver_close> {
public:
    Archiver(const Stream &stream, const Warehouse &warehouse, const Options &options = {}) {
        handle_.reset(detail::made<fes_archiver>([&](auto out, auto err) {
            return fes_archiver_open(stream.get(), warehouse.get(), options.get(), out, err);
        }));
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_archiver_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_archiver_start(get(), err); });
    }
    bool is_running() const { return fes_archiver_is_running(get()); }
    bool stop() {
        return detail::run([&](auto err) { return fes_archiver_stop(get(), err); });
    }
    bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return detail::run([&](auto err) {
            return fes_archiver_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    std::uint64_t run_once() {
        std::uint64_t count = 0;
        detail::run([&](auto err) { return fes_archiver_run_once(get(), &count, err); });
        return count;
    }
    Run run_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Run run;
        detail::run([&](auto err) {
            return fes_archiver_run_for(get(), detail::milliseconds(timeout), detail::token(cancel), &run.count,
                                        &run.complete, err);
        });
        return run;
    }
};

/** Deletes what everybody has acknowledged. Set `on_notice` before `start`. */
class Discarder : public detail::WithCallbacks<fes_discarder, fes_discarder_close> {
public:
    explicit Discarder(const Stream &stream, const Options &options = {}) {
        handle_.reset(detail::made<fes_discarder>([&](auto out, auto err) {
            return fes_discarder_open(stream.get(), options.get(), out, err);
        }));
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_discarder_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_discarder_start(get(), err); });
    }
    bool is_running() const { return fes_discarder_is_running(get()); }
    bool stop() {
        return detail::run([&](auto err) { return fes_discarder_stop(get(), err); });
    }
    bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return detail::run([&](auto err) {
            return fes_discarder_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    std::uint64_t run_once() {
        std::uint64_t count = 0;
        detail::run([&](auto err) { return fes_discarder_run_once(get(), &count, err); });
        return count;
    }
    Run run_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Run run;
        detail::run([&](auto err) {
            return fes_discarder_run_for(get(), detail::milliseconds(timeout), detail::token(cancel),
                                         &run.count, &run.complete, err);
        });
        return run;
    }
};

} // namespace fes

#endif
