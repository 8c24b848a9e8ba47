/* Events: those that are read, and those to be added. */
#ifndef FUTOIN_EVENTSTREAM_EVENTS_HPP
#define FUTOIN_EVENTSTREAM_EVENTS_HPP

#include "base.hpp"

#include <iterator>
#include <vector>

namespace fes {

/** The event types that are wanted; none means all. */
class Want {
public:
    Want() = default;
    Want(std::initializer_list<const char *> types) : names_(types.begin(), types.end()) { point(); }
    explicit Want(std::vector<std::string> types) : names_(std::move(types)) { point(); }
    Want(const Want &other) : names_(other.names_) { point(); }
    Want &operator=(const Want &other) {
        names_ = other.names_;
        point();
        return *this;
    }

    const char *const *data() const { return types_.empty() ? nullptr : types_.data(); }
    std::size_t size() const { return types_.size(); }

private:
    void point() {
        types_.clear();
        for (const std::string &name : names_)
            types_.push_back(name.c_str());
    }
    std::vector<std::string> names_;
    std::vector<const char *> types_;
};

/** An event to be added: its type and JSON text. */
struct NewEvent {
    std::string type;
    std::string data = "null";
};

namespace detail {
/** Borrows from `events`. */
inline std::vector<fes_new_event> plain(const std::vector<NewEvent> &events) {
    std::vector<fes_new_event> out;
    for (const NewEvent &event : events)
        out.push_back({event.type.c_str(), event.data.data(), event.data.size()});
    return out;
}
} // namespace detail

/** One event; its views live as long as its `Events`. */
struct Event {
    std::uint64_t id;
    std::string_view type;
    std::string_view data;
    std::chrono::system_clock::time_point ts;
};

/** A batch of events, to be iterated over. */
class Events {
public:
    Events() = default;
    explicit Events(fes_events *events) : own_(events), events_(events) {}

    /** What a callback was given: it ends with the callback. */
    static Events borrowed(const fes_events *events) {
        Events out;
        out.events_ = events;
        return out;
    }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Event;
        using difference_type = std::ptrdiff_t;
        using pointer = const Event *;
        using reference = Event;

        explicit Iterator(const fes_event *at) : at_(at) {}
        Event operator*() const { return view(*at_); }
        Iterator &operator++() {
            ++at_;
            return *this;
        }
        Iterator operator++(int) {
            Iterator before = *this;
            ++at_;
            return before;
        }
        bool operator==(const Iterator &other) const { return at_ == other.at_; }
        bool operator!=(const Iterator &other) const { return at_ != other.at_; }

    private:
        const fes_event *at_;
    };

    std::size_t size() const { return fes_events_count(events_); }
    bool empty() const { return size() == 0; }
    /** `index` is below `size()`. */
    Event operator[](std::size_t index) const { return view(*fes_events_get(events_, index)); }
    /** There is at least one. */
    Event back() const { return (*this)[size() - 1]; }
    Iterator begin() const { return Iterator(fes_events_get(events_, 0)); }
    Iterator end() const { return Iterator(empty() ? nullptr : fes_events_get(events_, 0) + size()); }

    /** All as one JSON array. */
    std::string_view json() const { return text(fes_events_json); }
    /** The data of all as one JSON array. */
    std::string_view data_json() const { return text(fes_events_data_json); }

private:
    template <typename F> std::string_view text(F give) const {
        const char *start = nullptr;
        std::size_t len = 0;
        detail::run([&](auto err) { return give(events_, &start, &len, err); });
        return detail::view(start, len);
    }
    static Event view(const fes_event &event) {
        const std::chrono::system_clock::time_point ts{std::chrono::seconds(event.ts)};
        return {event.id, {event.type, event.type_len}, {event.data, event.data_len}, ts};
    }
    detail::Handle<fes_events, fes_events_free> own_;
    const fes_events *events_ = nullptr;
};

} // namespace fes

#endif
