/* Where the log goes. */
#ifndef FUTOIN_EVENTSTREAM_LOG_HPP
#define FUTOIN_EVENTSTREAM_LOG_HPP

#include "base.hpp"

#include <functional>
#include <mutex>

namespace fes {
inline namespace FES_MODE {

/** Gets one message; calls no function of this library. */
using OnLog = std::function<void(fes_log_level level, std::string_view message)>;

namespace detail {
inline void log(void *user, std::uint32_t level, const char *message) noexcept {
#ifndef FES_NO_EXCEPTIONS
    try {
        (*static_cast<OnLog *>(user))(static_cast<fes_log_level>(level), message);
    } catch (...) { // of no use to anybody
    }
#else
    (*static_cast<OnLog *>(user))(static_cast<fes_log_level>(level), message);
#endif
}
} // namespace detail

/** Sends the log of the process to `on_log` (or, empty, nowhere) up to `level`: see `fes_log_set`. What was
 *  there before is destroyed after its last call. */
FES_CHECKED inline bool set_log(OnLog on_log, fes_log_level level = FES_LOG_WARN) {
    // Never destroyed: threads of the library may log until the process is gone.
    static auto &mutex = *new std::mutex;
    static auto &current = *new std::unique_ptr<OnLog>;
    auto next = on_log ? std::make_unique<OnLog>(std::move(on_log)) : nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    const bool done = detail::settle(detail::attempt(
        [&](auto err) { return fes_log_set(next ? detail::log : nullptr, next.get(), nullptr, level, err); }));
    if (done)
        current.swap(next);
    return done;
}

} // namespace FES_MODE
} // namespace fes

#endif
