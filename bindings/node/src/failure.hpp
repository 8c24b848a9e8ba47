// What went wrong, on its way from the library to JavaScript.
#pragma once

#include <cstdint>
#include <futoin_eventstream.h>
#include <optional>
#include <string>

namespace fesnode {

// A copy of a `fes_unreadable`.
struct UnreadableRow {
    uint64_t id;
    std::string column;
    std::optional<std::string> type, data;
    std::string ts;

    static std::optional<UnreadableRow> of(const fes_error *error) {
        const fes_unreadable *row = fes_error_unreadable(error);
        if (!row)
            return std::nullopt;
        const auto bytes = [](const char *text, size_t size) {
            return text ? std::optional<std::string>(std::in_place, text, size) : std::nullopt;
        };
        return UnreadableRow{row->id, row->column, bytes(row->type, row->type_len), bytes(row->data, row->data_len),
                             row->ts};
    }
};

// An error of the library. Thrown by work on any thread; lib/error.js makes an Error of it.
struct Failure {
    uint32_t code;
    std::string name;
    std::string message;
    std::string sql_state;
    bool retriable;
    std::optional<UnreadableRow> unreadable;

    // Takes the error that a call has given, and frees it.
    static Failure take(uint32_t status, fes_error *error) {
        if (!error)
            return make(status, fes_status_name(status));
        Failure failure = copy(error);
        fes_error_free(error);
        return failure;
    }

    // Copies an error that belongs to somebody else.
    static Failure copy(const fes_error *error) {
        return {static_cast<uint32_t>(fes_error_code(error)), fes_error_name(error),
                fes_error_message(error), fes_error_sql_state(error), fes_error_is_retriable(error),
                UnreadableRow::of(error)};
    }

    static Failure make(uint32_t status, const std::string &message) {
        fes_error *error = fes_error_new(status, message.c_str());
        if (!error)
            return {FES_INTERNAL, "Internal", message, "", false, std::nullopt};
        return take(status, error);
    }
};

// Makes a call that takes `fes_error **` last; throws what it gives.
template <class Call> void must(Call call) {
    fes_error *error = nullptr;
    const fes_status status = call(&error);
    if (status != FES_OK)
        throw Failure::take(static_cast<uint32_t>(status), error);
}

} // namespace fesnode
