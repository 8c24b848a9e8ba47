/* Callbacks, and the receiver. */
#ifndef FUTOIN_EVENTSTREAM_RECEIVER_HPP
#define FUTOIN_EVENTSTREAM_RECEIVER_HPP

#include "stream.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace fes {

/** What receivers, archivers, discarders and apps tell: see `fes_on_notice`. `error` may be nullptr. */
struct Notice {
    std::uint32_t kind;
    std::uint64_t number;
    std::string_view text;
    const fes_error *error;
};
using OnNotice = std::function<void(const Notice &)>;
/** Gives whether the events are acknowledged; throwing brings them again, too. */
using OnEvents = std::function<bool(std::uint64_t seq, const Events &events)>;

namespace detail {
/** The functions of a handle, at a place that does not move. */
struct Callbacks {
    OnEvents on_events;

    static std::int32_t events(void *user, std::uint64_t seq, const fes_events *events) {
        const auto call = [&] {
            return static_cast<Callbacks *>(user)->on_events(seq, Events::borrowed(events)) ? 0 : 1;
        };
#ifndef FES_NO_EXCEPTIONS
        try {
            return call();
        } catch (...) {
            return 2;
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
        } catch (...) { // of no use to anybody
        }
#else
        call();
#endif
    }
};

/** A handle with its callbacks, which live until it is closed. */
template <typename T, void (*close)(T *)> class WithCallbacks {
public:
    WithCallbacks() : callbacks_(std::make_unique<Callbacks>()) {}
    WithCallbacks(WithCallbacks &&) noexcept = default;
    WithCallbacks &operator=(WithCallbacks &&other) noexcept {
        handle_ = std::move(other.handle_); // closes what was here, before its callbacks go
        callbacks_ = std::move(other.callbacks_);
        told_ = std::move(other.told_);
        return *this;
    }
    explicit operator bool() const { return bool(handle_); }
    T *get() const noexcept { return handle_.get(); }

protected:
    /** What is refused has no effect: the callback that a thread may be calling stays as it is. */
    template <typename Set> bool tell(OnNotice on_notice, Set set) {
        auto told = std::make_unique<OnNotice>(std::move(on_notice));
        if (!run([&](auto err) { return set(get(), Callbacks::notice, told.get(), nullptr, err); }))
            return false;
        told_.push_back(std::move(told)); // those before may be at work until the handle is closed
        return true;
    }
    std::unique_ptr<Callbacks> callbacks_; // dropped after the handle
    std::vector<std::unique_ptr<OnNotice>> told_;
    Handle<T, close> handle_;
};
} // namespace detail

/** What a receiver did so far: see `fes_receiver_stats`. */
struct ReceiverStats {
    std::uint64_t delivered = 0;
    std::uint64_t skipped = 0;
    std::uint64_t overflows = 0;
    std::uint64_t failures = 0;
    std::uint64_t given_up = 0;
};

/** A consumer that is called back; its destructor waits for the last call. Set it up before `start`. */
class Receiver : public detail::WithCallbacks<fes_receiver, fes_receiver_close> {
public:
    Receiver(const Stream &stream, const std::string &user, const std::string &component, OnEvents on_events) {
        callbacks_->on_events = std::move(on_events);
        handle_.reset(detail::made<fes_receiver>([&](auto out, auto err) {
            return fes_receiver_open(stream.get(), user.c_str(), component.c_str(),
                                     detail::Callbacks::events, callbacks_.get(), nullptr, out, err);
        }));
    }
    bool want(const Want &want) {
        return detail::run(
            [&](auto err) { return fes_receiver_set_want(get(), want.data(), want.size(), err); });
    }
    bool options(const Options &options) {
        return detail::run([&](auto err) { return fes_receiver_set_options(get(), options.get(), err); });
    }
    bool poison(fes_poison poison, std::uint32_t count = 0) {
        return detail::run([&](auto err) { return fes_receiver_set_poison(get(), poison, count, err); });
    }
    bool on_notice(OnNotice call) { return tell(std::move(call), fes_receiver_set_on_notice); }
    bool start() {
        return detail::run([&](auto err) { return fes_receiver_start(get(), err); });
    }
    bool stop() {
        return detail::run([&](auto err) { return fes_receiver_stop(get(), err); });
    }
    bool stop_for(Milliseconds timeout, const Cancel *cancel = nullptr) {
        return detail::run([&](auto err) {
            return fes_receiver_stop_for(get(), detail::milliseconds(timeout), detail::token(cancel), err);
        });
    }
    ReceiverStats stats() const {
        ReceiverStats s;
        detail::run([&](auto err) {
            return fes_receiver_stats(get(), &s.delivered, &s.skipped, &s.overflows, &s.failures, &s.given_up,
                                      err);
        });
        return s;
    }
};

} // namespace fes

#endif
