/* Consumers that ask: by polling, and by a subscription. */
#ifndef FUTOIN_EVENTSTREAM_CONSUMER_HPP
#define FUTOIN_EVENTSTREAM_CONSUMER_HPP

#include "events.hpp"

namespace fes {

/** A consumer that polls. */
class Consumer {
public:
    explicit Consumer(fes_consumer *consumer) : handle_(consumer) {}
    explicit operator bool() const { return bool(handle_); }

    bool register_() {
        return detail::run([&](auto err) { return fes_consumer_register(handle_.get(), err); });
    }
    bool register_at(fes_start start, std::int64_t value = 0) {
        return detail::run(
            [&](auto err) { return fes_consumer_register_at(handle_.get(), start, value, err); });
    }
    /** Whether it was registered. */
    bool unregister() {
        bool was = false;
        detail::run([&](auto err) { return fes_consumer_unregister(handle_.get(), &was, err); });
        return was;
    }

    Events poll(std::optional<std::uint64_t> last_id = {}, const Want &want = {},
                Milliseconds timeout = Milliseconds(0), const Cancel *cancel = nullptr,
                std::size_t limit = 0) {
        return Events(detail::made<fes_events>([&](auto out, auto err) {
            return fes_consumer_poll(handle_.get(), last_id ? &*last_id : nullptr, want.data(), want.size(),
                                     limit, detail::milliseconds(timeout), detail::token(cancel), out, err);
        }));
    }

    bool acknowledge(std::uint64_t last_id) {
        return detail::run(
            [&](auto err) { return fes_consumer_acknowledge(handle_.get(), last_id, err); });
    }
    /** Passes over exactly this event, if it is the next one and cannot be read: see `Error::unreadable`. */
    bool skip(std::uint64_t id) {
        return detail::run([&](auto err) { return fes_consumer_skip(handle_.get(), id, err); });
    }

private:
    detail::Handle<fes_consumer, fes_consumer_close> handle_;
};

/** A delivery of a subscription. */
struct Delivery {
    std::uint64_t seq = 0;
    Events events;
};

/** What a subscription did so far: see `fes_subscription_stats`. */
struct SubscriptionStats {
    std::uint64_t delivered = 0;
    std::uint64_t skipped = 0;
    std::uint64_t overflows = 0;
};

/** A consumer that is pushed to. Iterating waits for deliveries, and acknowledges each when the next one is
 *  asked for, until `cancel` ends it. */
class Subscription {
public:
    explicit Subscription(fes_subscription *subscription) : handle_(subscription) {}
    explicit operator bool() const { return bool(handle_); }

    /** Nothing if there is none in time. */
    std::optional<Delivery> next(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Delivery delivery;
        fes_events *events = detail::made<fes_events>([&](auto out, auto err) {
            return fes_subscription_next(handle_.get(), detail::milliseconds(timeout), detail::token(cancel),
                                         out, &delivery.seq, err);
        });
        if (!events)
            return {};
        delivery.events = Events(events);
        return delivery;
    }
    /** A descriptor for event loops: see `fes_subscription_fd`. -1 after a failure. */
    int fd() const {
        int fd = -1;
        detail::run([&](auto err) { return fes_subscription_fd(handle_.get(), &fd, err); });
        return fd;
    }
    bool ack() {
        return detail::run([&](auto err) { return fes_subscription_ack(handle_.get(), err); });
    }
    /** Passes over the event that `next` has named because it cannot be read: see `Error::unreadable`. */
    bool skip(std::uint64_t id) {
        return detail::run([&](auto err) { return fes_subscription_skip(handle_.get(), id, err); });
    }
    SubscriptionStats stats() const {
        SubscriptionStats s;
        detail::run([&](auto err) {
            return fes_subscription_stats(handle_.get(), &s.delivered, &s.skipped, &s.overflows, err);
        });
        return s;
    }

    class Deliveries {
    public:
        struct End {};
        class Iterator {
        public:
            explicit Iterator(Deliveries *range) : range_(range) { range_->advance(); }
            Delivery &operator*() const { return *range_->current_; }
            Iterator &operator++() {
                if (range_->subscription_.ack())
                    range_->advance();
                else
                    range_->current_.reset();
                return *this;
            }
            bool operator!=(End) const { return range_->current_.has_value(); }

        private:
            Deliveries *range_;
        };
        Iterator begin() { return Iterator(this); }
        End end() { return {}; }

    private:
        friend class Subscription;
        Deliveries(Subscription &subscription, const Cancel &cancel)
            : subscription_(subscription), cancel_(cancel) {}

        void advance() {
            current_.reset();
            while (!current_ && !cancel_.is_cancelled()) {
                current_ = subscription_.next(Milliseconds(25)); // the end by `cancel` is no failure
#ifdef FES_NO_EXCEPTIONS
                if (last_error())
                    return;
#endif
            }
        }
        Subscription &subscription_;
        const Cancel &cancel_;
        std::optional<Delivery> current_;
    };

    /** For `for (fes::Delivery &delivery : subscription.deliveries(cancel))`. */
    Deliveries deliveries(const Cancel &cancel) { return Deliveries(*this, cancel); }

private:
    detail::Handle<fes_subscription, fes_subscription_close> handle_;
};

} // namespace fes

#endif
