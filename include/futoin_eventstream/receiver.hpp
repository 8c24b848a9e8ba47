/* Callbacks, and the receiver. */
#ifndef FUTOIN_EVENTSTREAM_RECEIVER_HPP
#define FUTOIN_EVENTSTREAM_RECEIVER_HPP

#include "stream.hpp"

#include <functional>

namespace fes {
inline namespace FES_MODE {

/** A report of a receiver, archiver, discarder or app: see `fes_on_notice`. `error` may be nullptr. */
struct Notice {
    std::uint32_t kind;
    std::uint64_t number;
    std::string_view text;
    const fes_error *error;
};
/** Exceptions that it throws are dropped: nobody could handle them. */
using OnNotice = std::function<void(const Notice &)>;
/** Gives whether the events are acknowledged. Throwing brings them again, too; the `what()` of a std::exception
 *  is what the library tells of the failure. */
using OnEvents = std::function<bool(std::uint64_t seq, const Events &events)>;

namespace detail {

/** The functions of a handle, at places that do not move. */
class Callbacks {
protected:
    Callbacks() = default;

    static std::int32_t events(void *user, std::uint64_t seq, const fes_events *events) {
        const auto call = [&] { return (*static_cast<OnEvents *>(user))(seq, Events::borrowed(events)) ? 0 : 1; };
#ifndef FES_NO_EXCEPTIONS
        try {
            return call();
        } catch (const std::exception &thrown) {
            return fes_events_refuse(events, thrown.what());
        } catch (...) {
            return fes_events_refuse(events, "the callback threw something else than a std::exception");
        }
#else
        return call();
#endif
    }
    static void notice(void *user, std::uint32_t kind, std::uint64_t number, const char *text,
                       const fes_error *error) {
        const auto call = [&] { (*static_cast<OnNotice *>(user))({kind, number, text, error}); };
#ifndef FES_NO_EXCEPTIONS
        try {
            call();
        } catch (...) {
        }
#else
        call();
#endif
    }
    std::unique_ptr<OnEvents> on_events_;
    std::vector<std::unique_ptr<OnNotice>> on_notice_; // those before may be at work until the handle is closed
};

/** A handle with its callbacks, which live until it is closed. */
template <typename T, void (*close)(T *)> class WithCallbacks : protected Callbacks, public Handle<T, close> {
public:
    WithCallbacks() = default;
    explicit WithCallbacks(T *handle) noexcept : Handle<T, close>(handle) {}
    WithCallbacks(WithCallbacks &&) noexcept = default;
    WithCallbacks &operator=(WithCallbacks &&other) noexcept {
        Handle<T, close>::operator=(std::move(other)); // closes what was here, before its callbacks go
        Callbacks::operator=(std::move(other));
        return *this;
    }

protected:
    /** A refused call has no effect: the callback that a thread may be calling stays as it is. */
    template <typename Set> bool tell(OnNotice on_notice, Set set) {
        auto told = std::make_unique<OnNotice>(std::move(on_notice));
        on_notice_.reserve(on_notice_.size() + 1);
        const bool done = this->run(
            [&](auto err) { return set(this->get(), *told ? Callbacks::notice : nullptr, told.get(), nullptr, err); });
        if (done)
            on_notice_.push_back(std::move(told));
        return done;
    }
};

} // namespace detail

/** The counts of a receiver: see `fes_receiver_stats`. */
struct ReceiverStats {
    std::uint64_t delivered = 0;
    std::uint64_t skipped = 0;
    std::uint64_t overflows = 0;
    std::uint64_t failures = 0;
    std::uint64_t given_up = 0;
};

/** A consumer that is called back; its destructor waits for the last call. Set it up before `start`. */
class [[nodiscard]] Receiver : public detail::WithCallbacks<fes_receiver, fes_receiver_close> {
public:
    Receiver() = default;
    Receiver(const Stream &stream, const std::string &user, const std::string &component, OnEvents on_events) {
        const auto call = on_events ? Callbacks::events : nullptr;
        on_events_ = std::make_unique<OnEvents>(std::move(on_events));
        open(
            [&](auto out, auto err) {
                return fes_receiver_open(stream.get(), user.c_str(), component.c_str(), call, on_events_.get(), nullptr,
                                         out, err);
            },
            stream, detail::Text{"user", user}, detail::Text{"component", component});
    }
    FES_CHECKED bool want(const Want &want) {
        return run([&](auto err) { return fes_receiver_set_want(get(), want.data(), want.size(), err); }, want);
    }
    FES_CHECKED bool options(const Options &options) {
        return run([&](auto err) { return fes_receiver_set_options(get(), options.get(), err); }, options);
    }
    FES_CHECKED bool poison(fes_poison_policy poison, std::uint32_t count = 0) {
        return run([&](auto err) { return fes_receiver_set_poison(get(), poison, count, err); });
    }
    FES_CHECKED bool on_notice(OnNotice call) { return tell(std::move(call), fes_receiver_set_on_notice); }
    FES_CHECKED bool start() {
        return run([&](auto err) { return fes_receiver_start(get(), err); });
    }
    [[nodiscard]] bool is_running() const { return fes_receiver_is_running(get()); }
    FES_CHECKED bool stop() {
        return run([&](auto err) { return fes_receiver_stop(get(), err); });
    }
    FES_CHECKED bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return run([&](auto err) {
            return fes_receiver_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    [[nodiscard]] ReceiverStats stats() const {
        ReceiverStats s;
        run([&](auto err) {
            return fes_receiver_stats(get(), &s.delivered, &s.skipped, &s.overflows, &s.failures, &s.given_up, err);
        });
        return s;
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
