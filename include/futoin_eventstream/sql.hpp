/* The caller's own SQL: values, rows, transactions, and the statement for another driver. */
#ifndef FUTOIN_EVENTSTREAM_SQL_HPP
#define FUTOIN_EVENTSTREAM_SQL_HPP

#include "events.hpp"

namespace fes {

/** Bytes that are no text, as a parameter; borrowed until the call with them has returned. */
struct Bytes {
    const void *start;
    std::size_t size;
};

/** An SQL value: a parameter, or a column. A text or bytes are borrowed: until the call with them has
 *  returned, or as long as the `Rows` live. */
class Value {
public:
    Value(std::nullptr_t) {}
    Value(bool flag) : value_{FES_VALUE_BOOL, flag, 0, nullptr, 0} {}
    Value(int number) : value_{FES_VALUE_INT, number, 0, nullptr, 0} {}
    Value(std::int64_t number) : value_{FES_VALUE_INT, number, 0, nullptr, 0} {}
    Value(std::uint64_t number) : value_{FES_VALUE_UINT, static_cast<std::int64_t>(number), 0, nullptr, 0} {}
    Value(double number) : value_{FES_VALUE_REAL, 0, number, nullptr, 0} {}
    Value(const char *text) : Value(std::string_view(text)) {}
    Value(const std::string &text) : Value(std::string_view(text)) {}
    Value(std::string_view text) : value_{FES_VALUE_TEXT, 0, 0, text.data(), text.size()} {}
    Value(Bytes bytes) : value_{FES_VALUE_BYTES, 0, 0, static_cast<const char *>(bytes.start), bytes.size} {}
    explicit Value(const fes_value &value) : value_(value) {}

    std::uint32_t kind() const { return value_.kind; }
    bool is_null() const { return value_.kind == FES_VALUE_NULL; }
    std::int64_t integer() const { return value_.number; }
    double real() const { return value_.real; }
    /** A text, or bytes. */
    std::string_view text() const { return detail::view(value_.bytes, value_.len); }
    const fes_value &get() const { return value_; }

private:
    fes_value value_{FES_VALUE_NULL, 0, 0, nullptr, 0};
};

/** The rows of a query. */
class Rows {
public:
    explicit Rows(fes_rows *rows) : handle_(rows) {}
    std::size_t size() const { return fes_rows_count(handle_.get()); }
    std::size_t columns() const { return fes_rows_columns(handle_.get()); }
    /** The name of a column; empty if there is none. Borrowed from the rows. */
    std::string_view column_name(std::size_t column) const {
        std::size_t len = 0;
        const char *name = fes_rows_column_name(handle_.get(), column, &len);
        return detail::view(name, len);
    }
    /** Null for a place that is not there. */
    Value at(std::size_t row, std::size_t column) const {
        const fes_value *value = fes_rows_get(handle_.get(), row, column);
        return value ? Value(*value) : Value(nullptr);
    }

private:
    detail::Handle<fes_rows, fes_rows_free> handle_;
};

/** The SQL and parameters that add an event on a connection of the caller's own. */
class Statement {
public:
    explicit Statement(fes_statement *statement) : handle_(statement) {}
    Statement(fes_database_kind kind, const std::string &type, std::string_view data, const Options &options = {})
        : Statement(detail::made<fes_statement>([&](auto out, auto err) {
              return fes_event_statement(kind, type.c_str(), data.data(), data.size(), options.get(), out, err);
          })) {}
    explicit operator bool() const { return bool(handle_); }
    std::string_view sql() const {
        std::size_t len = 0;
        const char *text = fes_statement_sql(handle_.get(), &len);
        return detail::view(text, len);
    }
    std::string_view type() const { return param(0); }
    std::string_view data() const { return param(1); }

private:
    std::string_view param(std::size_t index) const {
        std::size_t len = 0;
        const char *text = fes_statement_param(handle_.get(), index, &len);
        return detail::view(text, len);
    }
    detail::Handle<fes_statement, fes_statement_free> handle_;
};

/** A transaction; rolled back unless it is committed. */
class Transaction {
public:
    explicit Transaction(fes_tx *tx) : handle_(tx) {}
    explicit operator bool() const { return bool(handle_); }

    std::uint64_t execute(const std::string &sql, const std::vector<Value> &params = {}) {
        std::uint64_t rows = 0;
        const auto values = plain(params);
        detail::run([&](auto err) {
            return fes_tx_execute(handle_.get(), sql.c_str(), values.data(), values.size(), &rows, err);
        });
        return rows;
    }

    Rows query(const std::string &sql, const std::vector<Value> &params = {}) {
        const auto values = plain(params);
        return Rows(detail::made<fes_rows>([&](auto out, auto err) {
            return fes_tx_query(handle_.get(), sql.c_str(), values.data(), values.size(), out, err);
        }));
    }

    std::uint64_t add_event(const std::string &type, std::string_view data = {}) {
        std::uint64_t id = 0;
        detail::run([&](auto err) {
            return fes_tx_add_event(handle_.get(), type.c_str(), data.data(), data.size(), &id, err);
        });
        return id;
    }

    /** The ids, or none after a failure. */
    std::vector<std::uint64_t> add_events(const std::vector<NewEvent> &events) {
        const auto plain = detail::plain(events);
        std::vector<std::uint64_t> ids(events.size());
        if (!detail::run([&](auto err) {
                return fes_tx_add_events(handle_.get(), plain.data(), plain.size(), sizeof(fes_new_event),
                    ids.data(), err);
            }))
            ids.clear();
        return ids;
    }

    bool commit() {
        return detail::run([&](auto err) { return fes_tx_commit(handle_.get(), err); });
    }
    bool rollback() {
        return detail::run([&](auto err) { return fes_tx_rollback(handle_.get(), err); });
    }

private:
    static std::vector<fes_value> plain(const std::vector<Value> &params) {
        std::vector<fes_value> values;
        for (const Value &value : params)
            values.push_back(value.get());
        return values;
    }
    detail::Handle<fes_tx, fes_tx_free> handle_;
};

} // namespace fes

#endif
