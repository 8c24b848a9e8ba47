#include "batch.hpp"
#include "listener.hpp"
#include "modules.hpp"

namespace fesnode {

Listener::Listener(std::shared_ptr<Loop> of, uint32_t key)
    : loop(std::move(of)), key(key), interruptible(loop, [this] {
          std::lock_guard lock(mutex);
          ended = true;
          changed.notify_all();
      }) {}

int32_t Listener::on_events(void *user, uint64_t seq, const fes_events *events) {
    auto *self = static_cast<Listener *>(user);
    std::shared_ptr<const Batch> batch;
    std::optional<Failure> corrupt;
    try {
        batch = Batch::of(events);
    } catch (const Failure &failure) {
        corrupt = failure;
    } catch (const std::exception &) {
        return 1; // no memory: later, perhaps
    }
    {
        std::lock_guard lock(self->mutex);
        self->reply = Reply::NONE;
    }
    // The delivery waits for its answer, so the listener is there when the task runs.
    const bool posted = self->loop->post([self, seq, batch, corrupt](napi_env env) {
        const napi_value what = batch ? batch->value(env) : failure(env, *corrupt);
        const std::vector<napi_value> arguments{number(env, self->key), text(env, batch ? "events" : "corrupt"),
                                                number(env, static_cast<double>(seq)), what};
        if (!self->loop->dispatch(env, arguments))
            self->answer(false);
    });
    return posted && self->wait_for_answer() ? 0 : 1;
}

bool Listener::wait_for_answer() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return ended || reply != Reply::NONE; });
    return reply == Reply::DONE;
}

void Listener::answer(bool done) {
    std::lock_guard lock(mutex);
    reply = done ? Reply::DONE : Reply::FAILED;
    changed.notify_all();
}

void Listener::on_notice(void *user, uint32_t notice, uint64_t count, const char *given, const fes_error *error) {
    auto *self = static_cast<Listener *>(user);
    std::optional<Failure> failed;
    if (error)
        failed = Failure::copy(error);
    // The listener may be gone when the task runs.
    const auto loop = self->loop;
    loop->post([loop, key = self->key, notice, count, why = std::string(given), failed](napi_env env) {
        loop->dispatch(env, {number(env, key), text(env, "notice"), number(env, notice), bigint(env, count),
                             text(env, why), failed ? failure(env, *failed) : null(env)});
    });
}

namespace {

fes_receiver *raw(const std::shared_ptr<Handle> &handle) { return handle->as<fes_receiver>(); }

// openReceiver(stream, user, component, key, want, options, poison, count)
napi_value open(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const std::string user = args.string(1), component = args.string(2);
    const Want want(args.strings(4));
    const Options options(args, 5);
    const auto listener = std::make_shared<Listener>(stream->loop, args.number(3));
    fes_receiver *opened = nullptr;
    must([&](fes_error **err) {
        return fes_receiver_open(stream->as<fes_stream>(), user.c_str(), component.c_str(), Listener::on_events,
                                 listener.get(), nullptr, &opened, err);
    });
    const auto receiver = Handle::adopt(stream->loop, opened, RECEIVER, Lanes::make(), {args.place(0)});
    receiver->listener = listener;
    must([&](fes_error **err) { return fes_receiver_set_want(raw(receiver), want.data(), want.size(), err); });
    must([&](fes_error **err) {
        return options.get() ? fes_receiver_set_options(raw(receiver), options.get(), err) : FES_OK;
    });
    must([&](fes_error **err) {
        return fes_receiver_set_poison(raw(receiver), args.number(6), args.number(7), err);
    });
    must([&](fes_error **err) {
        return fes_receiver_set_on_notice(raw(receiver), Listener::on_notice, listener.get(), nullptr, err);
    });
    return Slot::make(env, receiver);
}

// startReceiver(receiver)
napi_value start(napi_env env, const Args &args) {
    const auto receiver = args.handle(0, RECEIVER);
    return promise(env, receiver->lanes.calls, [receiver] {
        must([&](fes_error **err) { return fes_receiver_start(raw(receiver), err); });
        return nothing();
    });
}

// stopReceiver(receiver, timeout, token). Waits on a thread of its own.
napi_value stop(napi_env env, const Args &args) {
    const auto receiver = args.handle(0, RECEIVER);
    const auto token = args.token(2);
    return promise(env, nullptr, [receiver, token, timeout = args.number(1)] {
        must([&](fes_error **err) { return fes_receiver_stop_for(raw(receiver), timeout, token->get(), err); });
        return nothing();
    });
}

// answer(receiver, done)
napi_value answer(napi_env env, const Args &args) {
    args.handle(0, RECEIVER)->listener->answer(args.boolean(1));
    return undefined(env);
}

// isReceiving(receiver)
napi_value is_running(napi_env env, const Args &args) {
    return boolean(env, fes_receiver_is_running(raw(args.handle(0, RECEIVER))));
}

// receiverStats(receiver): [delivered, skipped, overflows, failures, givenUp]
napi_value stats(napi_env env, const Args &args) {
    const auto receiver = args.handle(0, RECEIVER);
    uint64_t counts[5] = {};
    must([&](fes_error **err) {
        return fes_receiver_stats(raw(receiver), &counts[0], &counts[1], &counts[2], &counts[3], &counts[4], err);
    });
    std::vector<napi_value> values;
    for (const uint64_t count : counts)
        values.push_back(number(env, static_cast<double>(count)));
    return array(env, values);
}

} // namespace

void define_receiver(Exports &exports) {
    exports.add<open>("openReceiver");
    exports.add<start>("startReceiver");
    exports.add<stop>("stopReceiver");
    exports.add<is_running>("isReceiving");
    exports.add<answer>("answer");
    exports.add<stats>("receiverStats");
}

} // namespace fesnode
