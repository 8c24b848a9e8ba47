/* The history: warehouse, replay, archiver, discarder. */
#ifndef FUTOIN_EVENTSTREAM_HISTORY_HPP
#define FUTOIN_EVENTSTREAM_HISTORY_HPP

#include "receiver.hpp"

namespace fes {
inline namespace FES_MODE {

/** All history, in a database of its own. */
class [[nodiscard]] Warehouse : public detail::Handle<fes_warehouse, fes_warehouse_close> {
public:
    Warehouse() = default;
    using Owner::Owner;
    explicit Warehouse(const std::string &url, const Options &options = {}) {
        open([&](auto out, auto err) { return fes_warehouse_open(url.c_str(), options.get(), out, err); },
             detail::Text{"url", url}, options);
    }
    /** That of the environment: see `fes_warehouse_from_env`. */
    static Warehouse from_env(const Options &options = {}) {
        Warehouse warehouse;
        warehouse.open([&](auto out, auto err) { return fes_warehouse_from_env(options.get(), out, err); }, options);
        return warehouse;
    }

    /** Ends calls of other threads: see `fes_warehouse_shutdown`. */
    void shutdown() noexcept { fes_warehouse_shutdown(get()); }
    /** A `fes_database_kind`. */
    [[nodiscard]] std::uint32_t kind() const noexcept { return fes_warehouse_kind(get()); }
    FES_CHECKED bool migrate() {
        return run([&](auto err) { return fes_warehouse_migrate(get(), err); });
    }
    Events history(std::uint64_t from_id, const Want &want, std::size_t limit) {
        return make<Events>(
            [&](auto out, auto err) {
                return fes_warehouse_history(get(), from_id, want.data(), want.size(), limit, out, err);
            },
            want);
    }
};

namespace detail {
/** A warehouse that may be left out, but is not to be empty. */
struct History {
    const Warehouse *warehouse;

    fes_warehouse *get() const { return warehouse ? warehouse->get() : nullptr; }
    Failure fault() const {
        if (!warehouse || *warehouse)
            return nullptr;
        const Failure why = warehouse->fault();
        if (why)
            return why;
        return std::make_shared<const Error>(FES_INVALID_ARGUMENT, "the warehouse is empty: give one, or nullptr");
    }
};
} // namespace detail

inline std::string Stream::doctor_json(const Warehouse *warehouse, const std::vector<std::string> &roles) {
    const detail::History history{warehouse};
    const detail::Names names("a role", roles);
    return json(
        [&](auto out, auto err) {
            return fes_stream_doctor_json(get(), history.get(), names.data(), names.size(), out, err);
        },
        history, names);
}

inline std::string Stream::verify_json(const Warehouse *warehouse, std::uint64_t from_id, std::uint64_t to_id,
                                       std::size_t examples) {
    const detail::History history{warehouse};
    return json(
        [&](auto out, auto err) {
            return fes_stream_verify_json(get(), history.get(), from_id, to_id, examples, out, err);
        },
        history);
}

inline std::string Stream::verify_json_for(Milliseconds timeout, const Cancel *cancel, const Warehouse *warehouse,
                                           std::uint64_t from_id, std::uint64_t to_id, std::size_t examples) {
    const detail::History history{warehouse};
    return json(
        [&](auto out, auto err) {
            return fes_stream_verify_json_for(get(), history.get(), from_id, to_id, examples,
                                              detail::milliseconds(timeout), detail::token(cancel), out, err);
        },
        history);
}

/** All history and then the active events, as one stream. */
class [[nodiscard]] Replay : public detail::Handle<fes_replay, fes_replay_close> {
public:
    Replay() = default;
    using Owner::Owner;
    Replay(const Warehouse &warehouse, const Stream &stream, std::uint64_t from_id, const Want &want = {}) {
        open(
            [&](auto out, auto err) {
                return fes_replay_open(warehouse.get(), stream.get(), from_id, want.data(), want.size(), out, err);
            },
            warehouse, stream, want);
    }
    /** None if there are no more now. */
    Events next(std::size_t limit) {
        return make<Events>([&](auto out, auto err) { return fes_replay_next(get(), limit, out, err); });
    }
    /** None if there was none in time. */
    Events next_for(std::size_t limit, Milliseconds timeout, const Cancel *cancel = nullptr) {
        return make<Events>([&](auto out, auto err) {
            return fes_replay_next_for(get(), limit, detail::milliseconds(timeout), detail::token(cancel), out, err);
        });
    }
    [[nodiscard]] std::uint64_t position() const { return fes_replay_position(get()); }
};

/** The result of a limited run of an archiver or a discarder. */
struct Run {
    std::uint64_t count = 0;
    /** Whether there was nothing more to do. */
    bool complete = false;
};

/** Copies a stream to a warehouse. Set `on_notice` before `start`. */
class [[nodiscard]] Archiver : public detail::WithCallbacks<fes_archiver, fes_archiver_close> {
public:
    Archiver() = default;
    using WithCallbacks::WithCallbacks;
    Archiver(const Stream &stream, const Warehouse &warehouse, const Options &options = {}) {
        open(
            [&](auto out, auto err) {
                return fes_archiver_open(stream.get(), warehouse.get(), options.get(), out, err);
            },
            stream, warehouse, options);
    }
    FES_CHECKED bool on_notice(OnNotice call) { return tell(std::move(call), fes_archiver_set_on_notice); }
    FES_CHECKED bool start() {
        return run([&](auto err) { return fes_archiver_start(get(), err); });
    }
    [[nodiscard]] bool is_running() const { return fes_archiver_is_running(get()); }
    FES_CHECKED bool stop() {
        return run([&](auto err) { return fes_archiver_stop(get(), err); });
    }
    FES_CHECKED bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return run([&](auto err) {
            return fes_archiver_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    FES_CHECKED std::uint64_t run_once() {
        std::uint64_t count = 0;
        run([&](auto err) { return fes_archiver_run_once(get(), &count, err); });
        return count;
    }
    FES_CHECKED Run run_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Run result;
        run([&](auto err) {
            return fes_archiver_run_for(get(), detail::milliseconds(timeout), detail::token(cancel), &result.count,
                                        &result.complete, err);
        });
        return result;
    }
};

/** Deletes what everybody has acknowledged. Set `on_notice` before `start`. */
class [[nodiscard]] Discarder : public detail::WithCallbacks<fes_discarder, fes_discarder_close> {
public:
    Discarder() = default;
    using WithCallbacks::WithCallbacks;
    explicit Discarder(const Stream &stream, const Options &options = {}) {
        open([&](auto out, auto err) { return fes_discarder_open(stream.get(), options.get(), out, err); }, stream,
             options);
    }
    FES_CHECKED bool on_notice(OnNotice call) { return tell(std::move(call), fes_discarder_set_on_notice); }
    FES_CHECKED bool start() {
        return run([&](auto err) { return fes_discarder_start(get(), err); });
    }
    [[nodiscard]] bool is_running() const { return fes_discarder_is_running(get()); }
    FES_CHECKED bool stop() {
        return run([&](auto err) { return fes_discarder_stop(get(), err); });
    }
    FES_CHECKED bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return run([&](auto err) {
            return fes_discarder_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    FES_CHECKED std::uint64_t run_once() {
        std::uint64_t count = 0;
        run([&](auto err) { return fes_discarder_run_once(get(), &count, err); });
        return count;
    }
    FES_CHECKED Run run_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Run result;
        run([&](auto err) {
            return fes_discarder_run_for(get(), detail::milliseconds(timeout), detail::token(cancel),
                                         &result.count, &result.complete, err);
        });
        return result;
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
