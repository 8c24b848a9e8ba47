#include "crew.hpp"

#include <chrono>
#include <pthread.h>
#include <thread>

namespace fesnode {

namespace {
constexpr auto IDLE = std::chrono::seconds(10); // after it a thread without a job ends
}

Crew &Crew::get() {
    static Crew *crew = new Crew;
    return *crew;
}

void Crew::run(Job job) {
    static auto *lane = new std::shared_ptr<Lane>(new Lane(Lane::UNLIMITED));
    run(*lane, std::move(job));
}

void Crew::run(const std::shared_ptr<Lane> &lane, Job job) {
    std::lock_guard lock(mutex);
    if (lane->running >= lane->limit) {
        lane->waiting.push_back(std::move(job));
        return;
    }
    if (idle <= ready.size())
        std::thread([this] { work(); }).detach(); // waits for the mutex
    lane->running++;
    ready.push_back({lane, std::move(job)});
    changed.notify_one();
}

void Crew::work() {
    pthread_setname_np(pthread_self(), "fes-node");
    while (true) {
        Ready next;
        {
            std::unique_lock lock(mutex);
            idle++;
            const bool found = changed.wait_for(lock, IDLE, [this] { return !ready.empty(); });
            idle--;
            if (!found)
                return;
            next = std::move(ready.front());
            ready.pop_front();
        }
        next.job();
        next.job = nullptr; // what it holds goes before the lane's next job
        finish(next.lane);
    }
}

void Crew::finish(const std::shared_ptr<Lane> &lane) {
    std::lock_guard lock(mutex);
    if (lane->waiting.empty()) {
        lane->running--;
        return;
    }
    ready.push_back({lane, std::move(lane->waiting.front())});
    lane->waiting.pop_front();
    // This thread is about to look for a job: nobody need be woken.
}

} // namespace fesnode
