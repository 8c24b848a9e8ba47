/* Shared by every class of the wrapper: handles, options, cancel tokens. */
#ifndef FUTOIN_EVENTSTREAM_BASE_HPP
#define FUTOIN_EVENTSTREAM_BASE_HPP

#include "error.hpp"

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <type_traits>

namespace fes {
inline namespace FES_MODE {

using Milliseconds = std::chrono::milliseconds;

/** A wait without an end. */
inline constexpr Milliseconds forever = Milliseconds::max();

/** The version of the library at run time: see `fes_version`. */
[[nodiscard]] inline std::string_view version() noexcept { return fes_version(); }

/** Whether the library at run time has all that this header declares. */
[[nodiscard]] inline bool abi_fits() noexcept { return fes_abi_version() >= FES_ABI_VERSION; }

/** Whether this is built into the library. */
[[nodiscard]] inline bool has(fes_feature feature) noexcept { return (fes_features() & feature) != 0; }

namespace detail {

/** The owner of a handle of the library. It is empty if it was moved from, made by default, or could not be made. */
template <typename T, typename Close> class Owner : public Keeper {
public:
    using Plain = std::remove_const_t<T>;

    Owner() = default;
    /** Takes a handle that the C functions gave. */
    explicit Owner(T *handle) noexcept : handle_(handle) {}
    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
    /** For the C functions. It stays the owner's. */
    [[nodiscard]] T *get() const noexcept FES_LIFETIMEBOUND { return handle_.get(); }
    /** Why there is no handle to give to a call, if that is known. */
    [[nodiscard]] Failure fault() const {
#ifdef FES_NO_EXCEPTIONS
        return handle_ ? nullptr : error();
#else
        return nullptr;
#endif
    }

protected:
    /** Makes `call(err)`; whether it succeeded. */
    template <typename F, typename... Given> bool run(F call, const Given &...given) const {
        return settle(*this, attempt(call, *this, given...));
    }
    /** Takes the handle that `call(out, err)` gives. */
    template <typename F, typename... Given> void open(F call, const Given &...given) {
        Plain *out = nullptr;
        const Failure failure = attempt([&](auto err) { return call(&out, err); }, given...);
        handle_.reset(out);
        settle(*this, failure);
    }
    /** Gives another owner what `call(out, err)` gives. */
    template <typename Made, typename F, typename... Given> Made make(F call, const Given &...given) const {
        typename Made::Plain *out = nullptr;
        const Failure failure = attempt([&](auto err) { return call(&out, err); }, *this, given...);
        Made made(out);
        settle(*this, failure);
        settle(made, failure);
        return made;
    }

    std::unique_ptr<T, Close> handle_;
};

template <typename T, void (*close)(T *)> using Handle = Owner<T, Free<T, close>>;

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

/** Options that differ from their defaults. Without exceptions, what is given options of which one could not be set
 *  fails for the same reason. */
class [[nodiscard]] Options : public detail::Handle<fes_options, fes_options_free> {
public:
    Options() : Owner(fes_options_new()) {}
    Options(std::initializer_list<std::pair<std::string, std::string>> options) : Options() {
        for (const auto &[key, value] : options)
            set(key, value);
    }
    Options &set(const std::string &key, const std::string &value) {
        run([&](auto err) { return fes_options_set(get(), key.c_str(), value.c_str(), err); },
            detail::Text{"the key of an option", key}, detail::Text{"the value of an option", value});
        return *this;
    }
#ifdef FES_NO_EXCEPTIONS
    [[nodiscard]] Failure fault() const { return error(); }
#endif
};

/** Ends waits from another thread, or a signal handler. */
class [[nodiscard]] Cancel : public detail::Handle<fes_cancel_token, fes_cancel_token_free> {
public:
    Cancel() : Owner(fes_cancel_token_new()) {}
    void cancel() const noexcept { fes_cancel_token_cancel(get()); }
    [[nodiscard]] bool is_cancelled() const noexcept { return fes_cancel_token_is_cancelled(get()); }
};

namespace detail {
inline const fes_cancel_token *token(const Cancel *cancel) { return cancel ? cancel->get() : nullptr; }
} // namespace detail

} // namespace FES_MODE
} // namespace fes

#endif
