/* What every class of the wrapper needs: errors, handles, options, cancel tokens. */
#ifndef FUTOIN_EVENTSTREAM_BASE_HPP
#define FUTOIN_EVENTSTREAM_BASE_HPP

#include "../futoin_eventstream.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#if !defined(FES_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define FES_NO_EXCEPTIONS
#endif

namespace fes {

using Milliseconds = std::chrono::milliseconds;

/** A wait without an end. */
inline constexpr Milliseconds forever = Milliseconds::max();

/** The version of the library at run time: see `fes_version`. */
inline std::string_view version() noexcept { return fes_version(); }

/** Whether the library at run time has all that this header declares. */
inline bool abi_fits() noexcept { return fes_abi_version() >= FES_ABI_VERSION; }

/** Whether this is built into the library. */
inline bool has(fes_feature feature) noexcept { return (fes_features() & feature) != 0; }

inline std::string_view status_name(std::uint32_t status) noexcept { return fes_status_name(status); }

namespace detail {
template <typename T, void (*free)(T *)> struct Free {
    void operator()(T *handle) const { free(handle); }
};
template <typename T, void (*free)(T *)> using Handle = std::unique_ptr<T, Free<T, free>>;
} // namespace detail

/** A row that cannot be read as an event: see `fes_unreadable`. */
struct Unreadable {
    std::uint64_t id = 0;
    std::string column;
    std::optional<std::string> type; // nothing for NULL, as of `data`
    std::optional<std::string> data;
    std::string ts;
};

/** A failure: see `fes_error`. */
class Error : public std::runtime_error {
public:
    explicit Error(const fes_error *error)
        : std::runtime_error(fes_error_message(error)), code_(fes_error_code(error)),
          name_(fes_error_name(error)), retriable_(fes_error_is_retriable(error)),
          sql_state_(fes_error_sql_state(error)) {
        const fes_unreadable *row = fes_error_unreadable(error);
        if (!row)
            return;
        const auto bytes = [](const char *text, std::size_t len) {
            return text ? std::optional<std::string>(std::in_place, text, len) : std::nullopt;
        };
        unreadable_ = Unreadable{row->id, row->column, bytes(row->type, row->type_len),
                                 bytes(row->data, row->data_len), row->ts};
    }

    /** One of the caller's own, to test how it is taken: see `fes_error_new`. */
    Error(fes_status code, const std::string &message)
        : Error(detail::Handle<fes_error, fes_error_free>(fes_error_new(code, message.c_str())).get()) {}

    fes_status code() const noexcept { return code_; }
    std::string_view name() const noexcept { return name_; }
    bool is_retriable() const noexcept { return retriable_; }
    const std::string &sql_state() const noexcept { return sql_state_; }
    /** The row that cannot be read, if that is what went wrong. */
    const std::optional<Unreadable> &unreadable() const noexcept { return unreadable_; }

private:
    fes_status code_;
    const char *name_; // constant
    bool retriable_;
    std::string sql_state_;
    std::optional<Unreadable> unreadable_;
};

#ifdef FES_NO_EXCEPTIONS
namespace detail {
inline std::optional<Error> &last() {
    thread_local std::optional<Error> error;
    return error;
}
} // namespace detail

/** What the last call of this thread failed with, if it failed. */
inline const std::optional<Error> &last_error() { return detail::last(); }
#endif

namespace detail {

/** Takes the error of a call: throws it, or keeps it. */
class Check {
public:
    Check() = default;
    Check(const Check &) = delete;
    Check &operator=(const Check &) = delete;
    ~Check() { fes_error_free(error_); }

    fes_error **place() { return &error_; }

    bool operator()(fes_status status) {
#ifdef FES_NO_EXCEPTIONS
        last().reset();
        if (status != FES_OK)
            last().emplace(error_);
#else
        if (status != FES_OK)
            throw Error(error_);
#endif
        return status == FES_OK;
    }

private:
    fes_error *error_ = nullptr;
};

/** Calls `call(out, err)` and gives the handle, which is the caller's; nullptr after a failure. */
template <typename T, typename F> T *made(F call) {
    T *out = nullptr;
    Check check;
    check(call(&out, check.place()));
    return out;
}

/** Calls `call(err)`; whether it succeeded. */
template <typename F> bool run(F call) {
    Check check;
    return check(call(check.place()));
}

inline std::uint32_t milliseconds(Milliseconds time) {
    if (time.count() >= static_cast<Milliseconds::rep>(FES_FOREVER))
        return FES_FOREVER;
    return time.count() < 0 ? 0 : static_cast<std::uint32_t>(time.count());
}

/** A text of the library and its length. */
inline std::string_view view(const char *text, std::size_t len) {
    return text ? std::string_view(text, len) : std::string_view();
}

} // namespace detail

/** Options that differ from their defaults. */
class Options {
public:
    Options() : handle_(fes_options_new()) {}
    Options(std::initializer_list<std::pair<const char *, const char *>> options) : Options() {
        for (const auto &[key, value] : options)
            set(key, value);
    }
    Options &set(const std::string &key, const std::string &value) {
        detail::run([&](auto err) { return fes_options_set(get(), key.c_str(), value.c_str(), err); });
        return *this;
    }
    fes_options *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<fes_options, fes_options_free> handle_;
};

/** Ends waits from another thread, or a signal handler. */
class Cancel {
public:
    Cancel() : handle_(fes_cancel_token_new()) {}
    void cancel() const noexcept { fes_cancel_token_cancel(get()); }
    bool is_cancelled() const noexcept { return fes_cancel_token_is_cancelled(get()); }
    fes_cancel_token *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<fes_cancel_token, fes_cancel_token_free> handle_;
};

namespace detail {
inline const fes_cancel_token *token(const Cancel *cancel) { return cancel ? cancel->get() : nullptr; }
} // namespace detail

} // namespace fes

#endif
