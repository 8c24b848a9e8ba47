#include "loop.hpp"

#include "handle.hpp"
#include "js.hpp"
#include "log.hpp"

namespace fesnode {

namespace {
// The longest that the end of an environment waits for the library.
constexpr auto PATIENCE = std::chrono::seconds(2);
} // namespace

std::shared_ptr<Loop> Loop::make(napi_env env) {
    auto loop = std::make_shared<Loop>();
    auto context = std::make_unique<std::shared_ptr<Loop>>(loop);
    const auto release = [](napi_env, void *data, void *) {
        delete static_cast<std::shared_ptr<Loop> *>(data);
    };
    ok(napi_create_threadsafe_function(env, nullptr, nullptr, text(env, "futoin-eventstream"), 0, 1,
                                       context.get(), release, context.get(), wake, &loop->waker));
    context.release();
    ok(napi_unref_threadsafe_function(env, loop->waker));
    // After the waker: hooks run in the reverse order, and the waker must be there until ours ends.
    auto own = std::make_unique<std::shared_ptr<Loop>>(loop);
    ok(napi_add_env_cleanup_hook(
        env, [](void *data) { (*static_cast<std::shared_ptr<Loop> *>(data))->shut_down(); }, own.get()));
    ok(napi_set_instance_data(env, own.get(), release, nullptr));
    own.release();
    return loop;
}

const std::shared_ptr<Loop> &Loop::of(napi_env env) {
    void *data = nullptr;
    ok(napi_get_instance_data(env, &data));
    return *static_cast<std::shared_ptr<Loop> *>(data);
}

bool Loop::post(Task task) {
    std::lock_guard lock(mutex);
    if (!open)
        return false;
    tasks.push_back(std::move(task));
    // One call wakes for all tasks that are there by then.
    return tasks.size() > 1 ||
           napi_call_threadsafe_function(waker, nullptr, napi_tsfn_nonblocking) == napi_ok;
}

void Loop::wake(napi_env env, napi_value, void *context, void *) {
    if (!env)
        return; // it ends
    const auto loop = *static_cast<std::shared_ptr<Loop> *>(context);
    std::deque<Task> tasks;
    {
        std::lock_guard lock(loop->mutex);
        if (!loop->open)
            return;
        tasks.swap(loop->tasks);
    }
    for (Task &task : tasks) {
        napi_handle_scope scope;
        if (!loop->is_open() || napi_open_handle_scope(env, &scope) != napi_ok)
            return; // a task has ended the environment
        try {
            task(env);
        } catch (const Stop &) {
            // The environment ends, and takes its promises along.
        }
        task = nullptr;
        napi_close_handle_scope(env, scope);
    }
}

bool Loop::is_open() {
    std::lock_guard lock(mutex);
    return open;
}

bool Loop::dispatch(napi_env env, const std::vector<napi_value> &arguments) {
    napi_value function, global, result;
    if (!dispatcher || napi_get_reference_value(env, dispatcher, &function) != napi_ok ||
        napi_get_global(env, &global) != napi_ok)
        return false;
    if (napi_call_function(env, global, function, arguments.size(), arguments.data(), &result) == napi_ok)
        return true;
    bool pending = false;
    if (napi_is_exception_pending(env, &pending) == napi_ok && pending)
        napi_get_and_clear_last_exception(env, &result);
    return false;
}

void Loop::set_dispatcher(napi_env env, napi_value function) {
    ok(napi_create_reference(env, function, 1, &dispatcher));
}

void Loop::hold(napi_env env, int change) {
    const bool before = held > 0;
    held += change;
    const bool now = held > 0;
    if (now && !before)
        napi_ref_threadsafe_function(env, waker);
    if (before && !now)
        napi_unref_threadsafe_function(env, waker);
}

void Loop::opened(bool root) {
    std::lock_guard lock(mutex);
    handles[root]++;
}

void Loop::closed(bool root) {
    std::lock_guard lock(mutex);
    handles[root]--;
    changed.notify_all();
}

void Loop::shut_down() {
    std::deque<Task> dropped;
    {
        std::lock_guard lock(mutex);
        if (!open)
            return;
        open = false;
        dropped.swap(tasks);
        for (Interruptible *wait : waits)
            wait->interrupt();
    }
    stop_log(*this);
    dropped.clear(); // not under the mutex: handles may go with them
    const auto end = std::chrono::steady_clock::now() + PATIENCE;
    close_slots(false, end); // receivers store their cursors by the streams
    close_slots(true, end);
}

void Loop::close_slots(bool root, std::chrono::steady_clock::time_point end) {
    for (Slot *slot : slots)
        if (slot->type.root == root)
            slot->place->handle.reset();
    std::unique_lock lock(mutex);
    changed.wait_until(lock, end, [&] { return handles[root] == 0; });
}

Interruptible::Interruptible(std::shared_ptr<Loop> of, std::function<void()> call)
    : loop(std::move(of)), interrupt(std::move(call)) {
    std::lock_guard lock(loop->mutex);
    loop->waits.insert(this);
    if (!loop->open)
        interrupt();
}

Interruptible::~Interruptible() {
    std::lock_guard lock(loop->mutex);
    loop->waits.erase(this);
}

} // namespace fesnode
