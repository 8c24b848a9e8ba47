#include "log.hpp"

#include "js.hpp"
#include "loop.hpp"
#include "modules.hpp"
#include <atomic>

namespace fesnode {

namespace {

// Messages that wait for a busy event loop; more are lost, and counted.
constexpr size_t MOST_WAITING = 10000;

// Where the log goes. Lives until the library has said that it will not be called any more.
struct Sink : std::enable_shared_from_this<Sink> {
    explicit Sink(std::shared_ptr<Loop> loop) : loop(std::move(loop)) {}
    const std::shared_ptr<Loop> loop;
    std::atomic<size_t> waiting{0};
    std::atomic<size_t> lost{0};
};

// Never destroyed: threads may outlive static objects.
std::mutex &mutex = *new std::mutex;
std::shared_ptr<Sink> &current = *new std::shared_ptr<Sink>;

void on_log(void *user, uint32_t level, const char *given) {
    const auto sink = static_cast<Sink *>(user)->shared_from_this();
    if (sink->waiting >= MOST_WAITING) {
        sink->lost++;
        return;
    }
    sink->waiting++;
    sink->loop->post([sink, level, message = std::string(given)](napi_env env) {
        sink->waiting--;
        const size_t lost = sink->lost.exchange(0);
        const std::string more = lost ? " (" + std::to_string(lost) + " messages before this one were lost)" : "";
        sink->loop->dispatch(env, {number(env, 0), text(env, "log"), number(env, level), text(env, message + more)});
    });
}

void set_sink(std::shared_ptr<Sink> sink, uint32_t level) {
    const fes_on_log call = sink ? on_log : nullptr;
    must([&](fes_error **err) { return fes_log_set(call, sink.get(), nullptr, level, err); });
    current.swap(sink);
}

// setLog(level): 0 for nothing
napi_value set_log(napi_env env, const Args &args) {
    const uint32_t level = args.number(0);
    std::lock_guard lock(mutex);
    set_sink(level == FES_LOG_OFF ? nullptr : std::make_shared<Sink>(Loop::of(env)), level);
    return undefined(env);
}

} // namespace

void stop_log(const Loop &loop) {
    std::lock_guard lock(mutex);
    if (!current || current->loop.get() != &loop)
        return;
    try {
        set_sink(nullptr, FES_LOG_OFF);
    } catch (const Failure &) {
        // Only a Rust program with a logger of its own refuses, and this is none.
    }
}

void define_log(Exports &exports) { exports.add<set_log>("setLog"); }

} // namespace fesnode
