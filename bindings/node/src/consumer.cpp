// Consumers and subscriptions.
#include "batch.hpp"
#include "handle.hpp"
#include "modules.hpp"

namespace fesnode {

namespace {

// openConsumer(stream, user, component)
napi_value open(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const std::string user = args.string(1), component = args.string(2);
    fes_consumer *consumer = nullptr;
    must([&](fes_error **err) {
        return fes_consumer_open(stream->as<fes_stream>(), user.c_str(), component.c_str(), &consumer, err);
    });
    return Slot::make(env, Handle::adopt(stream->loop, consumer, CONSUMER, stream->lanes, {args.place(0)}));
}

// registerAt(consumer, start, value)
napi_value register_at(napi_env env, const Args &args) {
    const auto consumer = args.handle(0, CONSUMER);
    return promise(env, consumer->lanes.calls, [consumer, start = args.number(1), value = args.integer(2)] {
        must([&](fes_error **err) {
            return fes_consumer_register_at(consumer->as<fes_consumer>(), start, value, err);
        });
        return nothing();
    });
}

// unregister(consumer): whether it was registered
napi_value unregister(napi_env env, const Args &args) {
    const auto consumer = args.handle(0, CONSUMER);
    return promise(env, consumer->lanes.calls, [consumer]() -> Give {
        bool was = false;
        must([&](fes_error **err) { return fes_consumer_unregister(consumer->as<fes_consumer>(), &was, err); });
        return [was](napi_env env) { return boolean(env, was); };
    });
}

// poll(consumer, lastId, want, limit, timeout, token): a batch. Waits on a thread of its own.
napi_value poll(napi_env env, const Args &args) {
    const auto consumer = args.handle(0, CONSUMER);
    const auto want = std::make_shared<Want>(args.strings(2));
    const auto token = args.token(5);
    const uint32_t limit = args.number(3), timeout = args.number(4);
    return promise(env, nullptr, [consumer, want, token, limit, timeout, last_id = args.maybe_id(1)] {
        fes_events *events = nullptr;
        must([&](fes_error **err) {
            return fes_consumer_poll(consumer->as<fes_consumer>(), last_id ? &*last_id : nullptr, want->data(),
                                     want->size(), limit, timeout, token->get(), &events, err);
        });
        return give(Batch::take(events));
    });
}

// acknowledge(consumer, lastId)
napi_value acknowledge(napi_env env, const Args &args) {
    const auto consumer = args.handle(0, CONSUMER);
    return promise(env, consumer->lanes.calls, [consumer, last_id = args.id(1)] {
        must([&](fes_error **err) {
            return fes_consumer_acknowledge(consumer->as<fes_consumer>(), last_id, err);
        });
        return nothing();
    });
}

// skip(consumer, id)
napi_value skip(napi_env env, const Args &args) {
    const auto consumer = args.handle(0, CONSUMER);
    return promise(env, consumer->lanes.calls, [consumer, id = args.id(1)] {
        must([&](fes_error **err) { return fes_consumer_skip(consumer->as<fes_consumer>(), id, err); });
        return nothing();
    });
}

// subscribe(stream, user, component, want, options): a subscription
napi_value subscribe(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const auto want = std::make_shared<Want>(args.strings(3));
    return promise(env, stream->lanes.calls,
                   [stream, want, place = args.place(0), user = args.string(1), component = args.string(2),
                    options = Options(args, 4)] {
                       fes_subscription *subscription = nullptr;
                       must([&](fes_error **err) {
                           return fes_stream_subscribe(stream->as<fes_stream>(), user.c_str(), component.c_str(),
                                                       want->data(), want->size(), options.get(), &subscription,
                                                       err);
                       });
                       return give(
                           Handle::adopt(stream->loop, subscription, SUBSCRIPTION, stream->lanes, {place}));
                   });
}

// next(subscription, timeout, token): {seq, batch}, or null. Waits on a thread of its own.
napi_value next(napi_env env, const Args &args) {
    const auto subscription = args.handle(0, SUBSCRIPTION);
    const auto token = args.token(2);
    return promise(env, nullptr, [subscription, token, timeout = args.number(1)]() -> Give {
        fes_events *events = nullptr;
        uint64_t seq = 0;
        must([&](fes_error **err) {
            return fes_subscription_next(subscription->as<fes_subscription>(), timeout, token->get(), &events, &seq,
                                         err);
        });
        if (!events)
            return null;
        return [seq, batch = Batch::take(events)](napi_env env) {
            napi_value result;
            ok(napi_create_object(env, &result));
            set(env, result, "seq", number(env, static_cast<double>(seq)));
            set(env, result, "batch", batch->value(env));
            return result;
        };
    });
}

// ack(subscription)
napi_value ack(napi_env env, const Args &args) {
    const auto subscription = args.handle(0, SUBSCRIPTION);
    return promise(env, subscription->lanes.calls, [subscription] {
        must([&](fes_error **err) { return fes_subscription_ack(subscription->as<fes_subscription>(), err); });
        return nothing();
    });
}

// skipPushed(subscription, id)
napi_value skip_pushed(napi_env env, const Args &args) {
    const auto subscription = args.handle(0, SUBSCRIPTION);
    return promise(env, subscription->lanes.calls, [subscription, id = args.id(1)] {
        must([&](fes_error **err) {
            return fes_subscription_skip(subscription->as<fes_subscription>(), id, err);
        });
        return nothing();
    });
}

// subscriptionStats(subscription): [delivered, skipped, overflows]
napi_value stats(napi_env env, const Args &args) {
    const auto subscription = args.handle(0, SUBSCRIPTION);
    uint64_t delivered = 0, skipped = 0, overflows = 0;
    must([&](fes_error **err) {
        return fes_subscription_stats(subscription->as<fes_subscription>(), &delivered, &skipped, &overflows, err);
    });
    return array(env, {number(env, static_cast<double>(delivered)), number(env, static_cast<double>(skipped)),
                       number(env, static_cast<double>(overflows))});
}

} // namespace

void define_consumer(Exports &exports) {
    exports.add<open>("openConsumer");
    exports.add<register_at>("registerAt");
    exports.add<unregister>("unregister");
    exports.add<poll>("poll");
    exports.add<acknowledge>("acknowledge");
    exports.add<skip>("skip");
    exports.add<subscribe>("subscribe");
    exports.add<next>("next");
    exports.add<ack>("ack");
    exports.add<skip_pushed>("skipPushed");
    exports.add<stats>("subscriptionStats");
}

} // namespace fesnode
