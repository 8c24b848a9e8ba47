// Handles of the library in the hands of JavaScript.
#pragma once

#include "crew.hpp"
#include "js.hpp"
#include "loop.hpp"
#include <vector>

namespace fesnode {

// What a kind of handle is called and how it is closed.
struct Type {
    const char *name;
    void (*close)(void *raw);
    bool root;                         // closed after all others, when an environment ends
    void (*shutdown)(const void *raw); // ends calls that hang; nothing for most
};

template <class T, void (*Close)(T *)> void close_raw(void *raw) { Close(static_cast<T *>(raw)); }
template <class T, void (*Shutdown)(const T *)> void shutdown_raw(const void *raw) {
    Shutdown(static_cast<const T *>(raw));
}

inline const Type STREAM{"stream", close_raw<fes_stream, fes_stream_close>, true,
                         shutdown_raw<fes_stream, fes_stream_shutdown>};
inline const Type TX{"transaction", close_raw<fes_tx, fes_tx_free>, false, nullptr};
inline const Type CONSUMER{"consumer", close_raw<fes_consumer, fes_consumer_close>, false, nullptr};
inline const Type SUBSCRIPTION{"subscription", close_raw<fes_subscription, fes_subscription_close>, false, nullptr};
inline const Type RECEIVER{"receiver", close_raw<fes_receiver, fes_receiver_close>, false, nullptr};
inline const Type WAREHOUSE{"warehouse", close_raw<fes_warehouse, fes_warehouse_close>, true,
                            shutdown_raw<fes_warehouse, fes_warehouse_shutdown>};
inline const Type REPLAY{"replay", close_raw<fes_replay, fes_replay_close>, false, nullptr};
inline const Type ARCHIVER{"archiver", close_raw<fes_archiver, fes_archiver_close>, false, nullptr};
inline const Type DISCARDER{"discarder", close_raw<fes_discarder, fes_discarder_close>, false, nullptr};
inline const Type APP{"app", close_raw<fes_app, fes_app_close>, false, nullptr};

// Where the calls on a handle run. A stream, and what is made of it, shares them.
struct Lanes {
    std::shared_ptr<Lane> calls;  // at most 32 at once
    std::shared_ptr<Lane> begins; // those that begin a transaction may wait for a connection or a lock
    static Lanes make() { return {std::make_shared<Lane>(32), std::make_shared<Lane>(32)}; }
};

// What the callbacks of a handle go to: see listener.hpp.
struct Listener;

// Where a handle is, until `close` takes it away. Shared by JavaScript and the handles that need this
// one: a stream that JavaScript has lost stays open while an archiver of it works.
struct Place {
    std::shared_ptr<Handle> handle;
};

// A handle of the library. Shared by its place and the calls that run; closed, on a thread of the crew,
// when the last of them lets go.
struct Handle {
    void *raw;
    const Type &type;
    const std::shared_ptr<Loop> loop;
    Lanes lanes;
    const std::vector<std::shared_ptr<Place>> parents;
    std::shared_ptr<Listener> listener;
    std::vector<Job> after; // runs when it is closed

    template <class T> T *as() const { return static_cast<T *>(raw); }

    using Parents = std::vector<std::shared_ptr<Place>>;
    static std::shared_ptr<Handle> adopt(std::shared_ptr<Loop> loop, void *raw, const Type &type, Lanes lanes,
                                         Parents parents = {});
};

// JavaScript's reference to a handle.
struct Slot {
    const std::shared_ptr<Place> place;
    const Type &type;
    const std::shared_ptr<Loop> loop;

    static napi_value make(napi_env env, std::shared_ptr<Handle> handle);
    static Slot &of(napi_env env, napi_value value);
};

// Gives a handle that the work has opened.
inline Give give(std::shared_ptr<Handle> handle) {
    return [handle](napi_env env) { return Slot::make(env, handle); };
}

// Ends waits: a cancel token of the library, cancelled at the end of the environment, too.
class Token {
  public:
    explicit Token(std::shared_ptr<Loop> loop);
    static napi_value make(napi_env env);
    static std::shared_ptr<Token> of(napi_env env, napi_value value);
    const fes_cancel_token *get() const { return raw.get(); }
    void cancel() const { fes_cancel_token_cancel(raw.get()); }

  private:
    std::unique_ptr<fes_cancel_token, void (*)(fes_cancel_token *)> raw;
    Interruptible interruptible;
};

// The options of a call, from [[key, value], ...]; nothing if it is not there.
class Options {
  public:
    Options(const Args &args, size_t index);
    const fes_options *get() const { return raw.get(); }

  private:
    std::shared_ptr<fes_options> raw;
};

// Event types as the library wants them.
class Want {
  public:
    explicit Want(std::vector<std::string> types) : types(std::move(types)) {
        for (const std::string &type : this->types)
            pointers.push_back(type.c_str());
    }
    Want(const Want &) = delete;
    const char *const *data() const { return pointers.data(); }
    size_t size() const { return pointers.size(); }

  private:
    std::vector<std::string> types;
    std::vector<const char *> pointers;
};

using Work = std::function<Give()>; // on a thread of the crew; throws a Failure

// Runs the work in the lane (NULL: without a limit) and gives a promise of what it gives. The process
// stays alive meanwhile.
napi_value promise(napi_env env, const std::shared_ptr<Lane> &lane, Work work);

inline Give nothing() { return undefined; }
inline Give give_id(uint64_t id) {
    return [id](napi_env env) { return bigint(env, id); };
}
inline Give give_number(uint64_t value) {
    return [value](napi_env env) { return number(env, static_cast<double>(value)); };
}

void define_handle(Exports &exports);

} // namespace fesnode
