/* Consumers that ask: by polling, and by a subscription. */
#ifndef FUTOIN_EVENTSTREAM_CONSUMER_HPP
#define FUTOIN_EVENTSTREAM_CONSUMER_HPP

#include "events.hpp"
#include <cstdint>

namespace fes {
inline namespace FES_MODE {

/** A consumer that polls. */
class [[nodiscard]] Consumer : public detail::Handle<fes_consumer, fes_consumer_close> {
public:
    using Owner::Owner;

    FES_CHECKED bool register_() {
        return run([&](auto err) { return fes_consumer_register(get(), err); });
    }
    FES_CHECKED bool register_at(fes_start start, std::int64_t value = 0) {
        return run([&](auto err) { return fes_consumer_register_at(get(), start, value, err); });
    }
    /** Whether it was registered. */
    FES_CHECKED bool unregister() {
        bool was = false;
        run([&](auto err) { return fes_consumer_unregister(get(), &was, err); });
        return was;
    }

    Events poll(std::optional<std::uint64_t> last_id = {}, const Want &want = {}, std::size_t limit = SIZE_MAX,
                Milliseconds timeout = Milliseconds(0), const Cancel *cancel = nullptr) {
        return make<Events>(
            [&](auto out, auto err) {
                return fes_consumer_poll(get(), last_id ? &*last_id : nullptr, want.data(), want.size(), limit,
                                         detail::milliseconds(timeout), detail::token(cancel), out, err);
            },
            want);
    }

    FES_CHECKED bool acknowledge(std::uint64_t last_id) {
        return run([&](auto err) { return fes_consumer_acknowledge(get(), last_id, err); });
    }
    /** Passes over exactly this event, if it is the next one and cannot be read: see `Error::unreadable`. */
    FES_CHECKED bool skip(std::uint64_t id) {
        return run([&](auto err) { return fes_consumer_skip(get(), id, err); });
    }
};

/** A delivery of a subscription. */
struct Delivery {
    std::uint64_t seq = 0;
    Events events;
};

/** The counts of a subscription: see `fes_subscription_stats`. */
struct SubscriptionStats {
    std::uint64_t delivered = 0;
    std::uint64_t skipped = 0;
    std::uint64_t overflows = 0;
};

/** A consumer that is pushed to. Iterating waits for deliveries, and acknowledges each when the next one is
 *  asked for, until `cancel` ends it. */
class [[nodiscard]] Subscription : public detail::Handle<fes_subscription, fes_subscription_close> {
public:
    using Owner::Owner;

    /** Nothing if there is none in time. */
    FES_CHECKED std::optional<Delivery> next(Milliseconds timeout, const Cancel *cancel = nullptr) {
        Delivery delivery;
        delivery.events = make<Events>([&](auto out, auto err) {
            return fes_subscription_next(get(), detail::milliseconds(timeout), detail::token(cancel), out,
                                         &delivery.seq, err);
        });
        if (!delivery.events)
            return std::nullopt;
        return delivery;
    }
    /** A descriptor for event loops: see `fes_subscription_fd`. -1 after a failure. */
    FES_CHECKED int fd() const {
        int fd = -1;
        run([&](auto err) { return fes_subscription_fd(get(), &fd, err); });
        return fd;
    }
    FES_CHECKED bool ack() {
        return run([&](auto err) { return fes_subscription_ack(get(), err); });
    }
    /** Passes over the event that `next` has named because it cannot be read: see `Error::unreadable`. */
    FES_CHECKED bool skip(std::uint64_t id) {
        return run([&](auto err) { return fes_subscription_skip(get(), id, err); });
    }
    [[nodiscard]] SubscriptionStats stats() const {
        SubscriptionStats s;
        run([&](auto err) { return fes_subscription_stats(get(), &s.delivered, &s.skipped, &s.overflows, err); });
        return s;
    }

    class [[nodiscard]] Deliveries {
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
        Deliveries(Subscription &subscription, const Cancel &cancel) : subscription_(subscription), cancel_(cancel) {}

        void advance() {
            current_.reset();
            if (!cancel_.is_cancelled())
                current_ = subscription_.next_until(cancel_);
        }
        Subscription &subscription_;
        const Cancel &cancel_;
        std::optional<Delivery> current_;
    };

    /** For `for (fes::Delivery &delivery : subscription.deliveries(cancel))`. Both must live until its end. */
    Deliveries deliveries(const Cancel &cancel FES_LIFETIMEBOUND) &FES_LIFETIMEBOUND {
        return Deliveries(*this, cancel);
    }
    Deliveries deliveries(const Cancel &cancel) && = delete;
    Deliveries deliveries(const Cancel &&cancel) & = delete;

private:
    /** Nothing after `cancel`, which is no failure here. */
    std::optional<Delivery> next_until(const Cancel &cancel) {
        Delivery delivery;
        delivery.events = make<Events>([&](auto out, auto err) {
            const fes_status status =
                fes_subscription_next(get(), FES_FOREVER, detail::token(&cancel), out, &delivery.seq, err);
            if (status != FES_CANCELLED)
                return status;
            fes_error_free(*err);
            *err = nullptr;
            return static_cast<fes_status>(FES_OK);
        });
        if (!delivery.events)
            return std::nullopt;
        return delivery;
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
