#include "handle.hpp"

#include "listener.hpp"

#include <thread>

namespace fesnode {

namespace {

// Runs the job on the crew; where there is no thread to be had, here.
void elsewhere(const Job &job) {
    try {
        Crew::get().run(job);
    } catch (const std::exception &) {
        job();
    }
}

void close_now(Handle *handle) {
    const auto loop = handle->loop;
    const bool root = handle->type.root;
    const auto after = std::move(handle->after);
    handle->type.close(handle->raw);
    delete handle;
    for (const Job &job : after)
        job();
    loop->closed(root);
}

// Waits for the calls on a handle that nobody else has any more. Where none has ended for a moment, they
// hang, and are ended.
void end_calls(const std::shared_ptr<Handle> &handle) {
    using clock = std::chrono::steady_clock;
    constexpr auto LOOK = std::chrono::milliseconds(5), MOMENT = std::chrono::milliseconds(150);
    long users = handle.use_count();
    for (auto since = clock::now(); users > 1 && clock::now() - since < MOMENT;) {
        std::this_thread::sleep_for(LOOK);
        if (handle.use_count() != users) {
            users = handle.use_count();
            since = clock::now();
        }
    }
    if (users > 1)
        handle->type.shutdown(handle->raw);
}

// Two 64-bit numbers tell our externals from those of other addons.
constexpr napi_type_tag SLOT_TAG{0x6f1e2c9a37b84d05, 0x9d3b57e1a2c84f60};
constexpr napi_type_tag TOKEN_TAG{0x41c7b3e85a9d4e12, 0xb8e06f2d914c7a35};

template <class T> napi_value external(napi_env env, std::unique_ptr<T> data, const napi_type_tag &tag) {
    napi_value result;
    const auto release = [](napi_env, void *data, void *) { delete static_cast<T *>(data); };
    ok(napi_create_external(env, data.get(), release, nullptr, &result));
    T *raw = data.release();
    (void)raw; // the external's now
    ok(napi_type_tag_object(env, result, &tag));
    return result;
}

template <class T> T &unpack(napi_env env, napi_value value, const napi_type_tag &tag) {
    bool ours = false;
    void *data = nullptr;
    if (napi_check_object_type_tag(env, value, &tag, &ours) != napi_ok || !ours ||
        napi_get_value_external(env, value, &data) != napi_ok)
        throw Failure::make(FES_INVALID_ARGUMENT, "not an object of this library");
    return *static_cast<T *>(data);
}

// Leaves the loop's list when JavaScript has lost the handle.
struct ListedSlot : Slot {
    ~ListedSlot() { loop->remove(this); }
};

void settle(napi_env env, napi_deferred deferred, const Give &give, const std::optional<Failure> &failed) {
    if (failed)
        ok(napi_reject_deferred(env, deferred, failure(env, *failed)));
    else
        ok(napi_resolve_deferred(env, deferred, give(env)));
}

} // namespace

std::shared_ptr<Handle> Handle::adopt(std::shared_ptr<Loop> loop, void *raw, const Type &type, Lanes lanes,
                                      Parents parents) {
    loop->opened(type.root);
    auto *handle = new Handle{raw, type, std::move(loop), std::move(lanes), std::move(parents), nullptr, {}};
    return {handle, [](Handle *handle) { elsewhere([handle] { close_now(handle); }); }};
}

napi_value Slot::make(napi_env env, std::shared_ptr<Handle> handle) {
    const Type &type = handle->type;
    const auto loop = handle->loop;
    const auto place = std::make_shared<Place>(Place{std::move(handle)});
    std::unique_ptr<ListedSlot> slot(new ListedSlot{{place, type, loop}});
    loop->add(slot.get());
    return external(env, std::move(slot), SLOT_TAG);
}

Slot &Slot::of(napi_env env, napi_value value) { return unpack<ListedSlot>(env, value, SLOT_TAG); }

Token::Token(std::shared_ptr<Loop> loop)
    : raw(fes_cancel_token_new(), fes_cancel_token_free), interruptible(std::move(loop), [this] { cancel(); }) {}

napi_value Token::make(napi_env env) {
    auto token = std::make_shared<Token>(Loop::of(env));
    return external(env, std::make_unique<std::shared_ptr<Token>>(token), TOKEN_TAG);
}

std::shared_ptr<Token> Token::of(napi_env env, napi_value value) {
    return unpack<std::shared_ptr<Token>>(env, value, TOKEN_TAG);
}

Options::Options(const Args &args, size_t index) {
    if (!args.has(index))
        return;
    raw.reset(fes_options_new(), fes_options_free);
    for (napi_value pair : read_array(args.env, args[index])) {
        const auto parts = read_array(args.env, pair);
        const std::string key = read_string(args.env, parts.at(0)), value = read_string(args.env, parts.at(1));
        must([&](fes_error **err) { return fes_options_set(raw.get(), key.c_str(), value.c_str(), err); });
    }
}

napi_value promise(napi_env env, const std::shared_ptr<Lane> &lane, Work work) {
    napi_value result;
    napi_deferred deferred;
    const auto loop = Loop::of(env);
    ok(napi_create_promise(env, &deferred, &result));
    loop->hold(env, 1);
    // The work is dropped before its promise is settled: a handle that it holds may be the last.
    const auto shared = std::make_shared<Work>(std::move(work));
    const Job job = [loop, deferred, shared] {
        Give give;
        std::optional<Failure> failed;
        try {
            give = (*shared)();
        } catch (const Failure &failure) {
            failed = failure;
        } catch (const std::exception &error) {
            failed = Failure::make(FES_INTERNAL, error.what());
        }
        *shared = nullptr;
        loop->post([loop, deferred, give, failed](napi_env env) {
            loop->hold(env, -1);
            settle(env, deferred, give, failed);
        });
    };
    try {
        lane ? Crew::get().run(lane, job) : Crew::get().run(job);
    } catch (const std::exception &error) {
        loop->hold(env, -1);
        const std::string message = std::string("the system gives no thread fes-node: ") + error.what();
        settle(env, deferred, nullptr, Failure::make(FES_OUT_OF_RESOURCES, message));
    }
    return result;
}

namespace {

// close(handle): resolves when the last call on it has ended and it is closed.
napi_value close(napi_env env, const Args &args) {
    Slot &slot = Slot::of(env, args[0]);
    napi_value result;
    napi_deferred deferred;
    ok(napi_create_promise(env, &deferred, &result));
    const auto loop = slot.loop;
    std::shared_ptr<Handle> &handle = slot.place->handle;
    if (!handle) {
        settle(env, deferred, undefined, std::nullopt);
        return result;
    }
    loop->hold(env, 1);
    handle->after.push_back([loop, deferred] {
        loop->post([loop, deferred](napi_env env) {
            loop->hold(env, -1);
            settle(env, deferred, undefined, std::nullopt);
        });
    });
    std::shared_ptr<Handle> own = std::move(handle);
    if (own->type.shutdown && own.use_count() > 1) {
        try {
            Crew::get().run([own = std::move(own)] { end_calls(own); });
        } catch (const std::exception &) {
            // Without a thread they end by themselves.
        }
    }
    return result;
}

napi_value make_token(napi_env env, const Args &) { return Token::make(env); }

napi_value cancel(napi_env env, const Args &args) {
    Token::of(env, args[0])->cancel();
    return undefined(env);
}

} // namespace

void define_handle(Exports &exports) {
    exports.add<close>("close");
    exports.add<make_token>("makeToken");
    exports.add<cancel>("cancel");
}

} // namespace fesnode
