// The native module. Its functions are called by lib/ only, which gives them types, names and checks.
#include "handle.hpp"
#include "modules.hpp"

namespace fesnode {

namespace {

napi_value version(napi_env env, const Args &) { return text(env, fes_version()); }

// statusName(code), for codes that are used; else "Unknown"
napi_value status_name(napi_env env, const Args &args) { return text(env, fes_status_name(args.number(0))); }

// isRetriable(code)
napi_value is_retriable(napi_env env, const Args &args) {
    return boolean(env, Failure::make(args.number(0), "").retriable);
}

// setDispatcher(function): called with (key, what, ...) for every callback
napi_value set_dispatcher(napi_env env, const Args &args) {
    Loop::of(env)->set_dispatcher(env, args[0]);
    return undefined(env);
}

// hold(1 or -1): something begins, or ends, that keeps the process alive
napi_value hold(napi_env env, const Args &args) {
    Loop::of(env)->hold(env, args.boolean(0) ? 1 : -1);
    return undefined(env);
}

napi_value shut_down(napi_env env, const Args &) {
    Loop::of(env)->shut_down();
    return undefined(env);
}

} // namespace

napi_value define(napi_env env, napi_value object) {
    if (fes_abi_version() < FES_ABI_VERSION) {
        napi_throw_error(env, nullptr, "libfutoin_eventstream is older than this addon");
        return nullptr;
    }
    try {
        Loop::make(env);
        Exports exports{env, object};
        exports.add<version>("version");
        exports.add<status_name>("statusName");
        exports.add<is_retriable>("isRetriable");
        exports.add<set_dispatcher>("setDispatcher");
        exports.add<hold>("hold");
        exports.add<shut_down>("shutDown");
        define_handle(exports);
        define_stream(exports);
        define_consumer(exports);
        define_receiver(exports);
        define_history(exports);
        define_checks(exports);
        define_log(exports);
        return object;
    } catch (const Stop &) {
        return nullptr; // with an exception pending
    }
}

} // namespace fesnode

NAPI_MODULE_INIT() { return fesnode::define(env, exports); }
