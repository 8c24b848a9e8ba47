/* The caller's own SQL: values, rows, transactions, and the statement for another driver. */
#ifndef FUTOIN_EVENTSTREAM_SQL_HPP
#define FUTOIN_EVENTSTREAM_SQL_HPP

#include "events.hpp"

#include <limits>

namespace fes {
inline namespace FES_MODE {

/** Bytes that are no text, to make a `Value` of. */
struct Bytes {
    const void *start;
    std::size_t size;
};

/** A column of a row. Its text lives as long as the `Rows` that it is of. */
class Cell {
public:
    explicit Cell(const fes_value &value) : value_(value) {}

    /** A `fes_value_kind`. */
    [[nodiscard]] std::uint32_t kind() const { return value_.kind; }
    [[nodiscard]] bool is_null() const { return kind() == FES_VALUE_NULL; }
    /** A boolean or a signed integer; `FES_INVALID_ARGUMENT` for an unsigned one that is too large. */
    [[nodiscard]] std::int64_t integer() const {
        if (kind() == FES_VALUE_UINT && value_.number < 0)
            detail::settle(std::make_shared<const Error>(
                FES_INVALID_ARGUMENT,
                std::to_string(unsigned_integer()) + " is too large for integer(): use unsigned_integer()"));
        return value_.number;
    }
    /** A boolean or an integer that is not negative. */
    [[nodiscard]] std::uint64_t unsigned_integer() const { return static_cast<std::uint64_t>(value_.number); }
    [[nodiscard]] double real() const { return value_.real; }
    /** A text, or bytes. */
    [[nodiscard]] std::string_view text() const { return detail::view(value_.bytes, value_.len); }

private:
    fes_value value_;
};

/** An SQL value: a parameter. It holds its text or bytes. Made of a boolean, of any number, of text, `Bytes`, nullptr
 *  or std::nullopt (NULL), and of an std::optional of these; a `const char *` that is nullptr is NULL, too. No other
 *  pointer converts. An unsigned number that the database cannot hold fails there. */
class Value {
    template <typename T> static constexpr bool is_character() {
        return std::is_same_v<T, wchar_t> || std::is_same_v<T, char16_t> || std::is_same_v<T, char32_t>;
    }
    template <typename T> static constexpr bool is_integer() {
        return std::is_integral_v<T> && sizeof(T) <= sizeof(std::int64_t) && !is_character<T>();
    }

public:
    Value(std::nullptr_t) {}
    Value(std::nullopt_t) {}
    template <typename T, std::enable_if_t<is_integer<T>(), int> = 0>
    Value(T number) : plain_{FES_VALUE_INT, static_cast<std::int64_t>(number), 0, nullptr, 0} {
        if (std::is_same_v<T, bool>)
            plain_.kind = FES_VALUE_BOOL;
        else if (std::is_unsigned_v<T>)
            plain_.kind = FES_VALUE_UINT;
    }
    template <typename T, std::enable_if_t<std::is_floating_point_v<T>, int> = 0>
    Value(T number) : plain_{FES_VALUE_REAL, 0, static_cast<double>(number), nullptr, 0} {}
    Value(std::string text) : plain_{FES_VALUE_TEXT, 0, 0, nullptr, 0}, bytes_(std::move(text)) {}
    Value(std::string_view text) : Value(std::string(text)) {}
    Value(const char *text) : Value(text ? Value(std::string(text)) : Value(nullptr)) {}
    Value(Bytes bytes) : Value(std::string(static_cast<const char *>(bytes.start), bytes.size)) {
        plain_.kind = FES_VALUE_BYTES;
    }
    template <typename T> Value(const std::optional<T> &value) : Value(value ? Value(*value) : Value(nullptr)) {}
    /** Copies what the value points to. */
    explicit Value(const fes_value &value) : plain_(value), bytes_(detail::view(value.bytes, value.len)) {}

    /** For the C functions. It points into this. */
    [[nodiscard]] fes_value get() const &FES_LIFETIMEBOUND {
        fes_value value = plain_;
        value.bytes = bytes_.data();
        value.len = bytes_.size();
        return value;
    }
    fes_value get() const && = delete;

    // As those of `Cell`.
    [[nodiscard]] std::uint32_t kind() const { return plain_.kind; }
    [[nodiscard]] bool is_null() const { return Cell(plain_).is_null(); }
    [[nodiscard]] std::int64_t integer() const { return Cell(plain_).integer(); }
    [[nodiscard]] std::uint64_t unsigned_integer() const { return Cell(plain_).unsigned_integer(); }
    [[nodiscard]] double real() const { return plain_.real; }
    [[nodiscard]] std::string_view text() const &FES_LIFETIMEBOUND { return bytes_; }
    std::string_view text() const && = delete;

private:
    fes_value plain_{FES_VALUE_NULL, 0, 0, nullptr, 0}; // without text
    std::string bytes_;
};

/** The rows of a query. */
class [[nodiscard]] Rows : public detail::Handle<fes_rows, fes_rows_free> {
public:
    using Owner::Owner;

    [[nodiscard]] std::size_t size() const { return fes_rows_count(get()); }
    [[nodiscard]] std::size_t columns() const { return fes_rows_columns(get()); }
    /** The name of a column; empty if there is none. */
    [[nodiscard]] std::string_view column_name(std::size_t column) const &FES_LIFETIMEBOUND {
        std::size_t len = 0;
        const char *name = fes_rows_column_name(get(), column, &len);
        return detail::view(name, len);
    }
    std::string_view column_name(std::size_t column) const && = delete;
    /** Null for a place that is not there. */
    [[nodiscard]] Cell at(std::size_t row, std::size_t column) const &FES_LIFETIMEBOUND {
        return Cell(plain(row, column));
    }
    /** Copies the rows, which would end with the statement. */
    [[nodiscard]] Value at(std::size_t row, std::size_t column) const && { return Value(plain(row, column)); }

private:
    fes_value plain(std::size_t row, std::size_t column) const {
        const fes_value *value = fes_rows_get(get(), row, column);
        return value ? *value : fes_value{FES_VALUE_NULL, 0, 0, nullptr, 0};
    }
};

/** The SQL and parameters that add an event on a connection of the caller's own. */
class [[nodiscard]] Statement : public detail::Handle<fes_statement, fes_statement_free> {
public:
    Statement() = default;
    using Owner::Owner;
    Statement(fes_database_kind kind, const std::string &type, const Data &data = {}, const Options &options = {}) {
        open(
            [&](auto out, auto err) {
                return fes_event_statement(kind, type.c_str(), detail::start(data), detail::size(data), options.get(),
                                           out, err);
            },
            detail::Text{"type", type}, options);
    }
    [[nodiscard]] std::string_view sql() const &FES_LIFETIMEBOUND {
        std::size_t len = 0;
        const char *text = fes_statement_sql(get(), &len);
        return detail::view(text, len);
    }
    std::string_view sql() const && = delete;
    [[nodiscard]] std::string_view type() const &FES_LIFETIMEBOUND { return param(0); }
    std::string_view type() const && = delete;
    [[nodiscard]] std::string_view data() const &FES_LIFETIMEBOUND { return param(1); }
    std::string_view data() const && = delete;

private:
    std::string_view param(std::size_t index) const {
        std::size_t len = 0;
        const char *text = fes_statement_param(get(), index, &len);
        return detail::view(text, len);
    }
};

/** A transaction; rolled back unless it is committed. */
class [[nodiscard]] Transaction : public detail::Handle<fes_tx, fes_tx_free> {
public:
    using Owner::Owner;

    FES_CHECKED std::uint64_t execute(const std::string &sql, const std::vector<Value> &params = {}) {
        std::uint64_t rows = 0;
        const auto values = plain(params);
        run([&](auto err) { return fes_tx_execute(get(), sql.c_str(), values.data(), values.size(), &rows, err); },
            detail::Text{"sql", sql});
        return rows;
    }

    Rows query(const std::string &sql, const std::vector<Value> &params = {}) {
        const auto values = plain(params);
        return make<Rows>(
            [&](auto out, auto err) {
                return fes_tx_query(get(), sql.c_str(), values.data(), values.size(), out, err);
            },
            detail::Text{"sql", sql});
    }

    FES_CHECKED std::uint64_t add_event(const std::string &type, const Data &data = {}) {
        std::uint64_t id = 0;
        run(
            [&](auto err) {
                return fes_tx_add_event(get(), type.c_str(), detail::start(data), detail::size(data), &id, err);
            },
            detail::Text{"type", type});
        return id;
    }

    /** The ids, or none after a failure. */
    FES_CHECKED std::vector<std::uint64_t> add_events(const std::vector<NewEvent> &events) {
        const detail::NewEvents plain(events);
        std::vector<std::uint64_t> ids(events.size());
        const auto add = [&](auto err) {
            return fes_tx_add_events(get(), plain.data(), plain.size(), sizeof(fes_new_event), ids.data(), err);
        };
        if (!run(add, plain))
            ids.clear();
        return ids;
    }

    FES_CHECKED bool commit() {
        return run([&](auto err) { return fes_tx_commit(get(), err); });
    }
    FES_CHECKED bool rollback() {
        return run([&](auto err) { return fes_tx_rollback(get(), err); });
    }

private:
    /** Borrows from `params`. */
    static std::vector<fes_value> plain(const std::vector<Value> &params) {
        std::vector<fes_value> values;
        for (const Value &value : params)
            values.push_back(value.get());
        return values;
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
