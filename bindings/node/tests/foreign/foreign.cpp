// The system's SQLite as an addon, for the tests: what another SQLite package does in a process.
#include <dlfcn.h>
#include <node_api.h>
#include <string>

namespace {

void *connection = nullptr;

template <class F> F symbol(const char *name) {
    static void *library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL); // Debian package libsqlite3-0
    return library ? reinterpret_cast<F>(dlsym(library, name)) : nullptr;
}

std::string read(napi_env env, napi_value value) {
    size_t size = 0;
    napi_get_value_string_utf8(env, value, nullptr, 0, &size);
    std::string text(size, '\0');
    napi_get_value_string_utf8(env, value, text.data(), size + 1, &size);
    return text;
}

napi_value give(napi_env env, int code) {
    napi_value result;
    napi_create_int32(env, code, &result);
    return result;
}

// open(file): 0 or SQLite's error code
napi_value open(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value file;
    napi_get_cb_info(env, info, &count, &file, nullptr, nullptr);
    const auto call = symbol<int (*)(const char *, void **)>("sqlite3_open");
    return give(env, call ? call(read(env, file).c_str(), &connection) : -1);
}

// run(sql, text, text): binds both, runs the statement; 0 or an error code
napi_value run(napi_env env, napi_callback_info info) {
    size_t count = 3;
    napi_value args[3];
    napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
    const std::string sql = read(env, args[0]), first = read(env, args[1]), second = read(env, args[2]);
    using Prepare = int (*)(void *, const char *, int, void **, const char **);
    using Bind = int (*)(void *, int, const char *, int, void (*)(void *));
    void *statement = nullptr;
    const int code = symbol<Prepare>("sqlite3_prepare_v2")(connection, sql.c_str(), -1, &statement, nullptr);
    if (code)
        return give(env, code);
    symbol<Bind>("sqlite3_bind_text")(statement, 1, first.c_str(), -1, nullptr);
    symbol<Bind>("sqlite3_bind_text")(statement, 2, second.c_str(), -1, nullptr);
    symbol<int (*)(void *)>("sqlite3_step")(statement);
    return give(env, symbol<int (*)(void *)>("sqlite3_finalize")(statement));
}

napi_value close(napi_env env, napi_callback_info) {
    return give(env, symbol<int (*)(void *)>("sqlite3_close")(connection));
}

} // namespace

NAPI_MODULE_INIT() {
    const std::pair<const char *, napi_callback> functions[] = {{"open", open}, {"run", run}, {"close", close}};
    for (const auto &[name, call] : functions) {
        napi_value function;
        napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
        napi_set_named_property(env, exports, name, function);
    }
    return exports;
}
