// The way from other threads into one JavaScript environment, and its end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <node_api.h>
#include <unordered_set>
#include <vector>

namespace fesnode {

struct Slot;

using Task = std::function<void(napi_env)>; // runs on the environment's thread

// Of one environment (the main thread or a worker thread of Node.js). Shared with the threads that
// work for it, which may outlive it: after the end nothing of theirs reaches JavaScript any more.
class Loop : public std::enable_shared_from_this<Loop> {
  public:
    static std::shared_ptr<Loop> make(napi_env env);
    // The one of this environment.
    static const std::shared_ptr<Loop> &of(napi_env env);

    // From any thread: runs the task soon. False, and the task is destroyed, after the end.
    bool post(Task task);
    // Calls the dispatcher of lib/native.js. False if there is none, or if it threw.
    bool dispatch(napi_env env, const std::vector<napi_value> &arguments);
    void set_dispatcher(napi_env env, napi_value function);

    // Work that keeps the process alive begins (1) or ends (-1).
    void hold(napi_env env, int change);

    // The end: interrupts all waits, closes all handles, and waits for that, but not for long. A
    // server that does not answer must not hold the exit. May be called twice.
    void shut_down();

    // Handles of JavaScript; on the environment's thread only.
    void add(Slot *slot) { slots.insert(slot); }
    void remove(Slot *slot) { slots.erase(slot); }
    // Handles of the library that are open, from any thread. Roots are closed after all others.
    void opened(bool root);
    void closed(bool root);

  private:
    friend class Interruptible;

    static void wake(napi_env env, napi_value function, void *context, void *data);
    bool is_open();
    void close_slots(bool root, std::chrono::steady_clock::time_point end);

    std::mutex mutex;
    std::condition_variable changed;
    bool open = true;
    std::deque<Task> tasks;
    std::unordered_set<class Interruptible *> waits;
    size_t handles[2] = {0, 0}; // not roots, roots

    napi_threadsafe_function waker = nullptr;
    napi_ref dispatcher = nullptr;
    int held = 0;
    std::unordered_set<Slot *> slots;
};

// A part of something that waits: `interrupt` is called, from another thread, when the environment
// ends, and never after the destructor. Declare it last in what it interrupts.
class Interruptible {
  public:
    Interruptible(std::shared_ptr<Loop> loop, std::function<void()> interrupt);
    ~Interruptible();
    Interruptible(const Interruptible &) = delete;
    Interruptible &operator=(const Interruptible &) = delete;

  private:
    friend class Loop;
    const std::shared_ptr<Loop> loop;
    const std::function<void()> interrupt;
};

} // namespace fesnode
