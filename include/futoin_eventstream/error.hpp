/* Failures: what they are, how a call is made, and who keeps them without exceptions. */
#ifndef FUTOIN_EVENTSTREAM_ERROR_HPP
#define FUTOIN_EVENTSTREAM_ERROR_HPP

#include "../futoin_eventstream.h"
#include "mode.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace fes {
inline namespace FES_MODE {

namespace detail {
template <typename T, void (*free)(T *)> struct Free {
    void operator()(T *handle) const { free(handle); }
};
template <typename T, void (*free)(T *)> using Pointer = std::unique_ptr<T, Free<T, free>>;
} // namespace detail

[[nodiscard]] inline std::string_view status_name(std::uint32_t status) noexcept {
    return fes_status_name(status);
}

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
    explicit Error(const fes_error *error) : Error(error, fes_error_message(error)) {}

    /** One of the caller's own, to test how it is taken: see `fes_error_new`. */
    Error(fes_status code, const std::string &message)
        : Error(detail::Pointer<fes_error, fes_error_free>(fes_error_new(code, "")).get(), message) {}

    Error(const Error &) = default; // also in place of a move, so that there is always a text
    Error &operator=(const Error &) = default;

    [[nodiscard]] fes_status code() const noexcept { return code_; }
    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] bool is_retriable() const noexcept { return retriable_; }
    [[nodiscard]] const std::string &sql_state() const &noexcept FES_LIFETIMEBOUND { return more_->sql_state; }
    const std::string &sql_state() const && = delete; // it would end with the error
    /** The row that cannot be read, if that is what went wrong. */
    [[nodiscard]] const std::optional<Unreadable> &unreadable() const &noexcept FES_LIFETIMEBOUND {
        return more_->unreadable;
    }
    const std::optional<Unreadable> &unreadable() const && = delete;

private:
    Error(const fes_error *error, const std::string &message)
        : std::runtime_error(message), code_(fes_error_code(error)), name_(fes_error_name(error)),
          retriable_(fes_error_is_retriable(error)),
          more_(std::make_shared<const More>(More{fes_error_sql_state(error), row(fes_error_unreadable(error))})) {}

    struct More {
        std::string sql_state;
        std::optional<Unreadable> unreadable;
    };

    static std::optional<Unreadable> row(const fes_unreadable *row) {
        if (!row)
            return std::nullopt;
        const auto bytes = [](const char *text, std::size_t len) {
            return text ? std::optional<std::string>(std::in_place, text, len) : std::nullopt;
        };
        return Unreadable{row->id, row->column, bytes(row->type, row->type_len), bytes(row->data, row->data_len),
                          row->ts};
    }

    fes_status code_;
    const char *name_; // constant
    bool retriable_;
    std::shared_ptr<const More> more_; // copied without a failure
};

/** A failure, or nothing. */
using Failure = std::shared_ptr<const Error>;

#ifdef FES_NO_EXCEPTIONS
namespace detail {
inline Failure &last() {
    thread_local Failure failure;
    return failure;
}
} // namespace detail

/** The error of this thread's last call, if it failed. */
[[nodiscard]] inline Failure last_error() { return detail::last(); }
#endif

namespace detail {

/** A text that a call is given. C would take it to end at a NUL inside, so there must be none. */
struct Text {
    const char *name;
    std::string_view text;

    Failure fault() const {
        const std::size_t at = text.find('\0');
        if (at == text.npos)
            return nullptr;
        return std::make_shared<const Error>(FES_INVALID_ARGUMENT,
                                             std::string(name) + " holds a NUL at byte " + std::to_string(at) + " of " +
                                                 std::to_string(text.size()) + ", which no text may: take it out");
    }
};

/** The error of `call(err)`. The call is not made if one of the objects `given` to it has an error already. */
template <typename F, typename... Given> Failure attempt(F call, const Given &...given) {
    Failure failure;
    if ((static_cast<bool>(failure = given.fault()) || ...))
        return failure;
    fes_error *error = nullptr;
    if (call(&error) != FES_OK)
        failure = std::make_shared<const Error>(Pointer<fes_error, fes_error_free>(error).get());
    return failure;
}

/** Errors of calls on an object are thrown; without exceptions, the object keeps the first one. */
class Keeper {
#ifdef FES_NO_EXCEPTIONS
public:
    /** The first failure of a call on this object since it was made or `clear_error` was called; for a handle that
     *  could not be made, why. Any number of threads may ask. */
    [[nodiscard]] Failure error() const {
        const std::lock_guard<std::mutex> lock(mutex());
        return first_;
    }
    void clear_error() {
        const std::lock_guard<std::mutex> lock(mutex());
        first_.reset();
    }

private:
    friend bool settle(const Keeper &keeper, const Failure &failure);
    void keep(const Failure &failure) const {
        const std::lock_guard<std::mutex> lock(mutex());
        if (!first_)
            first_ = failure;
    }
    /** One for all, as failures are rare. */
    static std::mutex &mutex() {
        static auto &mutex = *new std::mutex; // never destroyed: static objects may fail at the end
        return mutex;
    }
    mutable Failure first_;
#endif
};

/** Throws a failure, or keeps it for the thread; whether there is none. */
inline bool settle(const Failure &failure) {
#ifdef FES_NO_EXCEPTIONS
    last() = failure;
#else
    if (failure)
        throw Error(*failure);
#endif
    return !failure;
}

/** The same, and the object that was called keeps it, too. */
inline bool settle([[maybe_unused]] const Keeper &keeper, const Failure &failure) {
#ifdef FES_NO_EXCEPTIONS
    if (failure)
        keeper.keep(failure);
#endif
    return settle(failure);
}

} // namespace detail

} // namespace FES_MODE
} // namespace fes

#endif
