// The warehouse, and who fills it and empties the stream: archiver, discarder, service app.
#include "batch.hpp"
#include "listener.hpp"
#include "modules.hpp"

namespace fesnode {

namespace {

// openWarehouse(url, options)
napi_value open_warehouse(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr, [loop, url = args.string(0), options = Options(args, 1)] {
        fes_warehouse *warehouse = nullptr;
        must([&](fes_error **err) { return fes_warehouse_open(url.c_str(), options.get(), &warehouse, err); });
        return give(Handle::adopt(loop, warehouse, WAREHOUSE, Lanes::make()));
    });
}

// warehouseFromEnv(options)
napi_value warehouse_from_env(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr, [loop, options = Options(args, 0)] {
        fes_warehouse *warehouse = nullptr;
        must([&](fes_error **err) { return fes_warehouse_from_env(options.get(), &warehouse, err); });
        return give(Handle::adopt(loop, warehouse, WAREHOUSE, Lanes::make()));
    });
}

// warehouseKind(warehouse)
napi_value warehouse_kind(napi_env env, const Args &args) {
    return number(env, fes_warehouse_kind(args.handle(0, WAREHOUSE)->as<fes_warehouse>()));
}

// history(warehouse, fromId, want, limit): a batch
napi_value history(napi_env env, const Args &args) {
    const auto warehouse = args.handle(0, WAREHOUSE);
    const auto want = std::make_shared<Want>(args.strings(2));
    return promise(env, warehouse->lanes.calls, [warehouse, want, from_id = args.id(1), limit = args.number(3)] {
        fes_events *events = nullptr;
        must([&](fes_error **err) {
            return fes_warehouse_history(warehouse->as<fes_warehouse>(), from_id, want->data(), want->size(), limit,
                                         &events, err);
        });
        return give(Batch::take(events));
    });
}

// openReplay(warehouse, stream, fromId, want)
napi_value open_replay(napi_env env, const Args &args) {
    const auto warehouse = args.handle(0, WAREHOUSE), stream = args.handle(1, STREAM);
    const Want want(args.strings(3));
    fes_replay *replay = nullptr;
    must([&](fes_error **err) {
        return fes_replay_open(warehouse->as<fes_warehouse>(), stream->as<fes_stream>(), args.id(2), want.data(),
                               want.size(), &replay, err);
    });
    const Lanes lanes{std::make_shared<Lane>(1), nullptr};
    return Slot::make(env, Handle::adopt(stream->loop, replay, REPLAY, lanes, {args.place(0), args.place(1)}));
}

// nextReplayed(replay, limit, timeout, token): a batch. Without a timeout it does not wait.
napi_value next_replayed(napi_env env, const Args &args) {
    const auto replay = args.handle(0, REPLAY);
    const auto token = args.token(3);
    const std::optional<uint32_t> timeout = args.has(2) ? std::optional(args.number(2)) : std::nullopt;
    return promise(env, replay->lanes.calls, [replay, token, timeout, limit = args.number(1)] {
        fes_events *events = nullptr;
        must([&](fes_error **err) {
            auto *raw = replay->as<fes_replay>();
            return timeout ? fes_replay_next_for(raw, limit, *timeout, token->get(), &events, err)
                           : fes_replay_next(raw, limit, &events, err);
        });
        return give(Batch::take(events));
    });
}

// replayPosition(replay)
napi_value replay_position(napi_env env, const Args &args) {
    return bigint(env, fes_replay_position(args.handle(0, REPLAY)->as<fes_replay>()));
}

// Makes a handle's callbacks go to the dispatcher under the key.
template <class T, auto set_on_notice> void listen(const std::shared_ptr<Handle> &handle, uint32_t key) {
    handle->listener = std::make_shared<Listener>(handle->loop, key);
    must([&](fes_error **err) {
        return set_on_notice(handle->as<T>(), Listener::on_notice, handle->listener.get(), nullptr, err);
    });
}

// openArchiver(stream, warehouse, key, options)
napi_value open_archiver(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM), warehouse = args.handle(1, WAREHOUSE);
    const Options options(args, 3);
    fes_archiver *archiver = nullptr;
    must([&](fes_error **err) {
        return fes_archiver_open(stream->as<fes_stream>(), warehouse->as<fes_warehouse>(), options.get(), &archiver,
                                 err);
    });
    const Handle::Parents parents{args.place(0), args.place(1)};
    const auto handle = Handle::adopt(stream->loop, archiver, ARCHIVER, Lanes::make(), parents);
    listen<fes_archiver, fes_archiver_set_on_notice>(handle, args.number(2));
    return Slot::make(env, handle);
}

// openDiscarder(stream, key, options)
napi_value open_discarder(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const Options options(args, 2);
    fes_discarder *discarder = nullptr;
    must([&](fes_error **err) {
        return fes_discarder_open(stream->as<fes_stream>(), options.get(), &discarder, err);
    });
    const auto handle = Handle::adopt(stream->loop, discarder, DISCARDER, Lanes::make(), {args.place(0)});
    listen<fes_discarder, fes_discarder_set_on_notice>(handle, args.number(1));
    return Slot::make(env, handle);
}

// A call that takes a handle and gives nothing.
template <class T, const Type &type, auto call> napi_value simple(napi_env env, const Args &args) {
    const auto handle = args.handle(0, type);
    return promise(env, handle->lanes.calls, [handle] {
        must([&](fes_error **err) { return call(handle->as<T>(), err); });
        return nothing();
    });
}

// A call (handle, timeout, token) that waits, on a thread of its own, and gives nothing.
template <class T, const Type &type, auto call> napi_value wait(napi_env env, const Args &args) {
    const auto handle = args.handle(0, type);
    const auto token = args.token(2);
    return promise(env, nullptr, [handle, token, timeout = args.number(1)] {
        must([&](fes_error **err) { return call(handle->as<T>(), timeout, token->get(), err); });
        return nothing();
    });
}

// The same, that gives [count, complete].
template <class T, const Type &type, auto call> napi_value run(napi_env env, const Args &args) {
    const auto handle = args.handle(0, type);
    const auto token = args.token(2);
    return promise(env, nullptr, [handle, token, timeout = args.number(1)]() -> Give {
        uint64_t count = 0;
        bool complete = false;
        must([&](fes_error **err) {
            return call(handle->as<T>(), timeout, token->get(), &count, &complete, err);
        });
        return [count, complete](napi_env env) {
            return array(env, {number(env, static_cast<double>(count)), boolean(env, complete)});
        };
    });
}

template <class T, const Type &type, auto call> napi_value is_running(napi_env env, const Args &args) {
    return boolean(env, call(args.handle(0, type)->as<T>()));
}

Give give_app(const std::shared_ptr<Loop> &loop, fes_app *app, uint32_t key) {
    const auto handle = Handle::adopt(loop, app, APP, Lanes::make());
    listen<fes_app, fes_app_set_on_notice>(handle, key);
    return give(handle);
}

// openApp(url, warehouseUrl or null, key, options)
napi_value open_app(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr,
                   [loop, url = args.string(0), warehouse_url = args.maybe_string(1), key = args.number(2),
                    options = Options(args, 3)] {
                       fes_app *app = nullptr;
                       must([&](fes_error **err) {
                           return fes_app_open(url.c_str(), warehouse_url ? warehouse_url->c_str() : nullptr,
                                               options.get(), &app, err);
                       });
                       return give_app(loop, app, key);
                   });
}

// appFromEnv(key, options)
napi_value app_from_env(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr, [loop, key = args.number(0), options = Options(args, 1)] {
        fes_app *app = nullptr;
        must([&](fes_error **err) { return fes_app_from_env(options.get(), &app, err); });
        return give_app(loop, app, key);
    });
}

// appStream(app), appWarehouse(app): another handle of it
template <class T, const Type &type, auto call> napi_value part_of_app(napi_env env, const Args &args) {
    const auto app = args.handle(0, APP);
    T *part = nullptr;
    must([&](fes_error **err) { return call(app->as<fes_app>(), &part, err); });
    return Slot::make(env, Handle::adopt(app->loop, part, type, Lanes::make(), {args.place(0)}));
}

} // namespace

void define_history(Exports &exports) {
    exports.add<open_warehouse>("openWarehouse");
    exports.add<warehouse_from_env>("warehouseFromEnv");
    exports.add<warehouse_kind>("warehouseKind");
    exports.add<simple<fes_warehouse, WAREHOUSE, fes_warehouse_migrate>>("migrateWarehouse");
    exports.add<history>("history");
    exports.add<open_replay>("openReplay");
    exports.add<next_replayed>("nextReplayed");
    exports.add<replay_position>("replayPosition");
    exports.add<open_archiver>("openArchiver");
    exports.add<simple<fes_archiver, ARCHIVER, fes_archiver_start>>("startArchiver");
    exports.add<wait<fes_archiver, ARCHIVER, fes_archiver_stop_for>>("stopArchiver");
    exports.add<run<fes_archiver, ARCHIVER, fes_archiver_run_for>>("archive");
    exports.add<is_running<fes_archiver, ARCHIVER, fes_archiver_is_running>>("isArchiving");
    exports.add<open_discarder>("openDiscarder");
    exports.add<simple<fes_discarder, DISCARDER, fes_discarder_start>>("startDiscarder");
    exports.add<wait<fes_discarder, DISCARDER, fes_discarder_stop_for>>("stopDiscarder");
    exports.add<run<fes_discarder, DISCARDER, fes_discarder_run_for>>("discard");
    exports.add<is_running<fes_discarder, DISCARDER, fes_discarder_is_running>>("isDiscarding");
    exports.add<open_app>("openApp");
    exports.add<app_from_env>("appFromEnv");
    exports.add<part_of_app<fes_stream, STREAM, fes_app_stream>>("appStream");
    exports.add<part_of_app<fes_warehouse, WAREHOUSE, fes_app_warehouse>>("appWarehouse");
    exports.add<simple<fes_app, APP, fes_app_migrate>>("migrateApp");
    exports.add<simple<fes_app, APP, fes_app_start>>("startApp");
    exports.add<wait<fes_app, APP, fes_app_stop_for>>("stopApp");
}

} // namespace fesnode
