// Callbacks of the library, from its threads into JavaScript.
#pragma once

#include "handle.hpp"
#include <condition_variable>
#include <mutex>

namespace fesnode {

// What the callbacks of a receiver, archiver, discarder or app go to: the dispatcher of lib/native.js,
// with a key that tells whose they are. Lives until its handle is closed.
struct Listener {
    Listener(std::shared_ptr<Loop> loop, uint32_t key);

    // For the library; `user` is a Listener.
    static int32_t on_events(void *user, uint64_t seq, const fes_events *events);
    static void on_notice(void *user, uint32_t notice, uint64_t number, const char *text, const fes_error *error);

    // The answer to a delivery, from JavaScript.
    void answer(bool done);

  private:
    enum class Reply { NONE, DONE, FAILED };

    bool wait_for_answer();

    const std::shared_ptr<Loop> loop;
    const uint32_t key;
    std::mutex mutex;
    std::condition_variable changed;
    Reply reply = Reply::NONE;
    bool ended = false; // the environment
    Interruptible interruptible;
};

} // namespace fesnode
