#include "js.hpp"

#include "handle.hpp"
#include <cstring>

namespace fesnode {

napi_value text(napi_env env, const std::string &value) {
    napi_value result;
    ok(napi_create_string_utf8(env, value.data(), value.size(), &result));
    return result;
}

napi_value number(napi_env env, double value) {
    napi_value result;
    ok(napi_create_double(env, value, &result));
    return result;
}

napi_value bigint(napi_env env, uint64_t value) {
    napi_value result;
    ok(napi_create_bigint_uint64(env, value, &result));
    return result;
}

napi_value boolean(napi_env env, bool value) {
    napi_value result;
    ok(napi_get_boolean(env, value, &result));
    return result;
}

napi_value undefined(napi_env env) {
    napi_value result;
    ok(napi_get_undefined(env, &result));
    return result;
}

napi_value null(napi_env env) {
    napi_value result;
    ok(napi_get_null(env, &result));
    return result;
}

napi_value array(napi_env env, const std::vector<napi_value> &items) {
    napi_value result;
    ok(napi_create_array_with_length(env, items.size(), &result));
    for (size_t i = 0; i < items.size(); i++)
        ok(napi_set_element(env, result, static_cast<uint32_t>(i), items[i]));
    return result;
}

napi_value bytes(napi_env env, const void *data, size_t size) {
    napi_value result;
    void *place = nullptr;
    ok(napi_create_arraybuffer(env, size, &place, &result));
    if (size)
        std::memcpy(place, data, size);
    return result;
}

namespace {

napi_value buffer(napi_env env, const std::optional<std::string> &bytes) {
    napi_value result;
    if (!bytes)
        return null(env);
    ok(napi_create_buffer_copy(env, bytes->size(), bytes->data(), nullptr, &result));
    return result;
}

napi_value unreadable(napi_env env, const UnreadableRow &row) {
    napi_value result;
    ok(napi_create_object(env, &result));
    set(env, result, "id", bigint(env, row.id));
    set(env, result, "column", text(env, row.column));
    set(env, result, "type", buffer(env, row.type));
    set(env, result, "data", buffer(env, row.data));
    set(env, result, "ts", text(env, row.ts));
    return result;
}

} // namespace

napi_value failure(napi_env env, const Failure &failure) {
    napi_value result;
    ok(napi_create_object(env, &result));
    set(env, result, "code", number(env, failure.code));
    set(env, result, "kind", text(env, failure.name));
    set(env, result, "message", text(env, failure.message));
    set(env, result, "sqlState", text(env, failure.sql_state));
    set(env, result, "retriable", boolean(env, failure.retriable));
    if (failure.unreadable)
        set(env, result, "unreadable", unreadable(env, *failure.unreadable));
    return result;
}

void set(napi_env env, napi_value object, const char *key, napi_value value) {
    ok(napi_set_named_property(env, object, key, value));
}

namespace {

[[noreturn]] void wrong(size_t index) {
    throw Failure::make(FES_INVALID_ARGUMENT, "argument " + std::to_string(index) + " of a native call is wrong");
}

void check(napi_status status, size_t index) {
    if (status != napi_ok)
        wrong(index);
}

} // namespace

std::string read_string(napi_env env, napi_value value) {
    size_t size = 0;
    ok(napi_get_value_string_utf8(env, value, nullptr, 0, &size));
    std::string result(size, '\0');
    ok(napi_get_value_string_utf8(env, value, result.data(), size + 1, &size));
    return result;
}

std::vector<napi_value> read_array(napi_env env, napi_value value) {
    uint32_t size = 0;
    ok(napi_get_array_length(env, value, &size));
    std::vector<napi_value> result(size);
    for (uint32_t i = 0; i < size; i++)
        ok(napi_get_element(env, value, i, &result[i]));
    return result;
}

Args::Args(napi_env env, napi_callback_info info) : env(env) {
    size_t count = MOST;
    ok(napi_get_cb_info(env, info, &count, values, nullptr, nullptr)); // fills up with undefined
}

bool Args::has(size_t index) const {
    napi_valuetype type;
    ok(napi_typeof(env, values[index], &type));
    return type != napi_undefined && type != napi_null;
}

std::string Args::string(size_t index) const {
    napi_valuetype type;
    check(napi_typeof(env, values[index], &type), index);
    if (type != napi_string)
        wrong(index);
    return read_string(env, values[index]);
}

std::optional<std::string> Args::maybe_string(size_t index) const {
    return has(index) ? std::optional(string(index)) : std::nullopt;
}

uint64_t Args::id(size_t index) const {
    uint64_t value = 0;
    bool lossless = false;
    check(napi_get_value_bigint_uint64(env, values[index], &value, &lossless), index);
    if (!lossless)
        wrong(index);
    return value;
}

std::optional<uint64_t> Args::maybe_id(size_t index) const {
    return has(index) ? std::optional(id(index)) : std::nullopt;
}

int64_t Args::integer(size_t index) const {
    int64_t value = 0;
    bool lossless = false;
    check(napi_get_value_bigint_int64(env, values[index], &value, &lossless), index);
    if (!lossless)
        wrong(index);
    return value;
}

uint32_t Args::number(size_t index) const {
    double value = 0;
    check(napi_get_value_double(env, values[index], &value), index);
    if (!(value >= 0 && value <= UINT32_MAX))
        wrong(index);
    return static_cast<uint32_t>(value);
}

bool Args::boolean(size_t index) const {
    bool value = false;
    check(napi_get_value_bool(env, values[index], &value), index);
    return value;
}

std::vector<std::string> Args::strings(size_t index) const {
    std::vector<std::string> result;
    if (has(index))
        for (napi_value item : read_array(env, values[index]))
            result.push_back(read_string(env, item));
    return result;
}

std::shared_ptr<Handle> Args::handle(size_t index, const Type &type) const {
    const Slot &slot = Slot::of(env, values[index]);
    if (&slot.type != &type)
        wrong(index);
    if (!slot.place->handle)
        throw Failure::make(FES_CLOSED, std::string("the ") + type.name + " is closed");
    return slot.place->handle;
}

std::shared_ptr<Place> Args::place(size_t index) const { return Slot::of(env, values[index]).place; }

std::shared_ptr<Token> Args::token(size_t index) const {
    return has(index) ? Token::of(env, values[index]) : std::make_shared<Token>(Loop::of(env));
}

} // namespace fesnode
