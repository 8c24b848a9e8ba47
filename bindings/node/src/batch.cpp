#include "batch.hpp"

#include <cmath>
#include <cstring>

namespace fesnode {

namespace {

// How many UTF-16 units a UTF-8 text has.
uint32_t utf16_units(const char *text, size_t size) {
    uint32_t units = 0;
    for (size_t i = 0; i < size; i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        units += (byte & 0xc0) != 0x80; // the first byte of a character
        units += byte >= 0xf0;          // of one that takes two units
    }
    return units;
}

template <class T> void append(std::string &to, const std::vector<T> &items) {
    to.append(reinterpret_cast<const char *>(items.data()), items.size() * sizeof(T));
}

constexpr double SAFE = 9007199254740991; // the largest integer that a JavaScript number holds exactly

} // namespace

std::shared_ptr<const Batch> Batch::of(const fes_events *events) {
    auto batch = std::make_shared<Batch>();
    const char *json = nullptr;
    size_t size = 0;
    must([&](fes_error **err) { return fes_events_data_json(events, &json, &size, err); });
    batch->text.assign(json, size);
    const size_t count = fes_events_count(events);
    const fes_event *event = fes_events_get(events, 0);
    uint32_t end = 0;
    for (size_t i = 0; i < count; i++, event++) {
        batch->ids.push_back(event->id);
        batch->times.push_back(static_cast<double>(event->ts));
        const uint32_t units = utf16_units(event->data, event->data_len);
        batch->ascii = batch->ascii && units == event->data_len;
        end += 1 + units; // after `[` or `,`
        batch->ends.push_back(end);
        batch->add_kind(*event);
    }
    return batch;
}

void Batch::add_kind(const fes_event &event) {
    const std::string_view type(event.type, event.type_len);
    uint32_t kind = 0;
    while (kind < names.size() && names[kind] != type)
        kind++;
    if (kind == names.size())
        names.emplace_back(type);
    kinds.push_back(kind);
}

std::shared_ptr<const Batch> Batch::take(fes_events *events) {
    const std::unique_ptr<fes_events, void (*)(fes_events *)> owner(events, fes_events_free);
    return of(events);
}

napi_value Batch::value(napi_env env) const {
    std::string numbers;
    numbers.reserve(ids.size() * 24);
    append(numbers, ids);
    append(numbers, times);
    append(numbers, ends);
    append(numbers, kinds);
    std::vector<napi_value> strings;
    for (const std::string &name : names)
        strings.push_back(fesnode::text(env, name));
    napi_value json, result;
    const auto create = ascii ? napi_create_string_latin1 : napi_create_string_utf8;
    ok(create(env, text.data(), text.size(), &json));
    ok(napi_create_object(env, &result));
    set(env, result, "numbers", bytes(env, numbers.data(), numbers.size()));
    set(env, result, "names", array(env, strings));
    set(env, result, "text", json);
    return result;
}

namespace {

napi_value integer(napi_env env, int64_t value) {
    napi_value result;
    if (std::abs(static_cast<double>(value)) <= SAFE)
        return number(env, static_cast<double>(value));
    ok(napi_create_bigint_int64(env, value, &result));
    return result;
}

napi_value unsigned_integer(napi_env env, uint64_t value) {
    return static_cast<double>(value) <= SAFE ? number(env, static_cast<double>(value)) : bigint(env, value);
}

napi_value column(napi_env env, const fes_value &value) {
    napi_value result;
    switch (value.kind) {
    case FES_VALUE_BOOL:
        return boolean(env, value.number != 0);
    case FES_VALUE_INT:
        return integer(env, value.number);
    case FES_VALUE_UINT:
        return unsigned_integer(env, static_cast<uint64_t>(value.number));
    case FES_VALUE_REAL:
        return number(env, value.real);
    case FES_VALUE_TEXT:
        ok(napi_create_string_utf8(env, value.bytes, value.len, &result));
        return result;
    case FES_VALUE_BYTES:
        ok(napi_create_buffer_copy(env, value.len, value.bytes, nullptr, &result));
        return result;
    default:
        return null(env);
    }
}

} // namespace

Give give_rows(fes_rows *taken) {
    const std::shared_ptr<fes_rows> rows(taken, fes_rows_free);
    return [rows](napi_env env) {
        napi_value result;
        const size_t count = fes_rows_count(rows.get()), columns = fes_rows_columns(rows.get());
        ok(napi_create_array_with_length(env, count, &result));
        for (size_t row = 0; row < count; row++) {
            napi_handle_scope scope; // one row at a time, however many there are
            ok(napi_open_handle_scope(env, &scope));
            std::vector<napi_value> values;
            for (size_t at = 0; at < columns; at++)
                values.push_back(column(env, *fes_rows_get(rows.get(), row, at)));
            ok(napi_set_element(env, result, static_cast<uint32_t>(row), array(env, values)));
            ok(napi_close_handle_scope(env, scope));
        }
        std::vector<napi_value> names;
        for (size_t at = 0; at < columns; at++)
            names.push_back(text(env, fes_rows_column_name(rows.get(), at, nullptr)));
        const napi_property_descriptor named{
            "columns", nullptr, nullptr, nullptr, nullptr, array(env, names), napi_default, nullptr};
        ok(napi_define_properties(env, result, 1, &named)); // not enumerable: the rows are what counts
        return result;
    };
}

Params::Params(napi_env env, napi_value array) {
    const std::vector<napi_value> items = read_array(env, array);
    places.resize(items.size()); // never moved again: the values point into it
    for (size_t i = 0; i < items.size(); i++)
        values.push_back(read(env, items[i], places[i]));
}

fes_value Params::read(napi_env env, napi_value value, std::string &place) {
    fes_value result{FES_VALUE_NULL, 0, 0, nullptr, 0};
    napi_valuetype type;
    ok(napi_typeof(env, value, &type));
    bool flag = false;
    void *data = nullptr;
    switch (type) {
    case napi_null:
        return result;
    case napi_boolean:
        ok(napi_get_value_bool(env, value, &flag));
        result.kind = FES_VALUE_BOOL;
        result.number = flag;
        return result;
    case napi_number:
        ok(napi_get_value_double(env, value, &result.real));
        result.kind = FES_VALUE_REAL;
        if (std::floor(result.real) == result.real && std::abs(result.real) <= SAFE) {
            result.kind = FES_VALUE_INT;
            result.number = static_cast<int64_t>(result.real);
        }
        return result;
    case napi_bigint:
        ok(napi_get_value_bigint_int64(env, value, &result.number, &flag));
        result.kind = flag ? FES_VALUE_INT : FES_VALUE_UINT; // lib/args.js has checked that it fits one of them
        return result;
    case napi_string:
        place = read_string(env, value);
        result.kind = FES_VALUE_TEXT;
        break;
    default:
        ok(napi_get_buffer_info(env, value, &data, &result.len));
        place.assign(static_cast<const char *>(data), result.len);
        result.kind = FES_VALUE_BYTES;
    }
    result.bytes = place.c_str();
    result.len = place.size();
    return result;
}

} // namespace fesnode
