// Reading JavaScript values, and making them. lib/ checks what users give; what is read here is what
// lib/ passes on, so a wrong type is a defect, which is reported and not trusted.
#pragma once

#include "failure.hpp"
#include <functional>
#include <memory>
#include <node_api.h>
#include <optional>
#include <string>
#include <vector>

namespace fesnode {

// N-API refused: an exception is pending, or the environment ends.
struct Stop {};

inline void ok(napi_status status) {
    if (status != napi_ok)
        throw Stop{};
}

napi_value text(napi_env env, const std::string &value);
napi_value number(napi_env env, double value);
napi_value bigint(napi_env env, uint64_t value);
napi_value boolean(napi_env env, bool value);
napi_value undefined(napi_env env);
napi_value null(napi_env env);
napi_value array(napi_env env, const std::vector<napi_value> &items);
napi_value bytes(napi_env env, const void *data, size_t size); // an ArrayBuffer
napi_value failure(napi_env env, const Failure &failure);      // for lib/error.js
void set(napi_env env, napi_value object, const char *key, napi_value value);

struct Handle;
struct Place;
struct Type;
class Token;

// The arguments of a call from lib/. Each reader throws a Failure for a value of another type.
class Args {
  public:
    Args(napi_env env, napi_callback_info info);

    napi_value operator[](size_t index) const { return values[index]; }
    bool has(size_t index) const; // neither undefined nor null
    std::string string(size_t index) const;
    std::optional<std::string> maybe_string(size_t index) const;
    uint64_t id(size_t index) const;
    std::optional<uint64_t> maybe_id(size_t index) const;
    int64_t integer(size_t index) const;
    uint32_t number(size_t index) const;
    bool boolean(size_t index) const;
    std::vector<std::string> strings(size_t index) const; // empty if it is not there
    std::shared_ptr<Handle> handle(size_t index, const Type &type) const; // Closed if it is
    std::shared_ptr<Place> place(size_t index) const;                     // of a handle
    std::shared_ptr<Token> token(size_t index) const; // a new one if it is not there

    const napi_env env;

  private:
    static constexpr size_t MOST = 8;
    napi_value values[MOST];
};

std::string read_string(napi_env env, napi_value value);
std::vector<napi_value> read_array(napi_env env, napi_value value);

// What the threads' work gives: made on the environment's thread. Its captures are copied freely, so
// large ones are shared.
using Give = std::function<napi_value(napi_env)>;

using Function = napi_value (*)(napi_env env, const Args &args);

// A function of the module: nothing of C++ leaves it.
template <Function body> napi_value entry(napi_env env, napi_callback_info info) noexcept {
    std::optional<Failure> failed;
    try {
        return body(env, Args(env, info));
    } catch (const Failure &failure) {
        failed = failure;
    } catch (const Stop &) {
        bool pending = false;
        if (napi_is_exception_pending(env, &pending) != napi_ok || pending)
            return nullptr;
        failed = Failure::make(FES_INTERNAL, "Node-API refused a call");
    } catch (const std::exception &error) {
        failed = Failure::make(FES_INTERNAL, error.what());
    }
    try {
        napi_throw(env, failure(env, *failed));
    } catch (const Stop &) {
    }
    return nullptr;
}

// The functions of the module, by name.
struct Exports {
    napi_env env;
    napi_value object;

    template <Function body> void add(const char *name) {
        napi_value function;
        ok(napi_create_function(env, name, NAPI_AUTO_LENGTH, entry<body>, nullptr, &function));
        set(env, object, name, function);
    }
};

} // namespace fesnode
