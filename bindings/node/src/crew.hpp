// The threads that calls run on, so that neither the event loop nor libuv's four threads wait.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace fesnode {

using Job = std::function<void()>; // must not throw

// A queue of jobs of which at most `limit` run at once, in the order that they came in.
class Lane {
  public:
    static constexpr size_t UNLIMITED = SIZE_MAX;
    explicit Lane(size_t limit) : limit(limit) {}

  private:
    friend class Crew;
    const size_t limit;
    // Both under the crew's mutex.
    size_t running = 0;
    std::deque<Job> waiting;
};

// Threads on demand: one is started when a job may run and nobody is idle; an idle one ends after a
// while. One crew for the process, never destroyed: its threads may outlive every environment.
class Crew {
  public:
    static Crew &get();

    // Runs the job on a thread of the crew. Throws std::system_error if the system gives no thread.
    void run(const std::shared_ptr<Lane> &lane, Job job);
    // As `run`, without a limit.
    void run(Job job);

  private:
    struct Ready {
        std::shared_ptr<Lane> lane;
        Job job;
    };

    void work();
    void finish(const std::shared_ptr<Lane> &lane);

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Ready> ready;
    size_t idle = 0;
};

} // namespace fesnode
