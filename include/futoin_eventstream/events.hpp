/* Events: those that are read, and those to be added. */
#ifndef FUTOIN_EVENTSTREAM_EVENTS_HPP
#define FUTOIN_EVENTSTREAM_EVENTS_HPP

#include "base.hpp"

#include <iterator>
#include <vector>

namespace fes {
inline namespace FES_MODE {

namespace detail {

/** Texts as C takes them. */
class Names {
public:
    Names(const char *name, std::vector<std::string> texts) : name_(name), texts_(std::move(texts)) { point(); }
    Names(const Names &other) : name_(other.name_), texts_(other.texts_) { point(); }
    Names(Names &&) noexcept = default; // the texts stay where they are
    Names &operator=(Names other) noexcept {
        texts_.swap(other.texts_);
        pointers_.swap(other.pointers_);
        return *this;
    }
    const char *const *data() const { return pointers_.empty() ? nullptr : pointers_.data(); }
    std::size_t size() const { return pointers_.size(); }
    Failure fault() const {
        Failure failure;
        for (std::size_t i = 0; !failure && i < texts_.size(); i++)
            failure = Text{name_, texts_[i]}.fault();
        return failure;
    }

private:
    void point() {
        for (const std::string &text : texts_)
            pointers_.push_back(text.c_str());
    }
    const char *name_;
    std::vector<std::string> texts_;
    std::vector<const char *> pointers_;
};

} // namespace detail

/** The event types that are wanted; none means all. */
class Want : public detail::Names {
public:
    Want() : Want(std::vector<std::string>()) {}
    Want(std::initializer_list<const char *> types) : Want(std::vector<std::string>(types.begin(), types.end())) {}
    explicit Want(std::vector<std::string> types) : Names("a wanted type", std::move(types)) {}
};

/** The JSON text of an event; none is that of `null`. */
using Data = std::optional<std::string_view>;

/** An event to be added: its type and JSON text. */
struct NewEvent {
    std::string type;
    std::string data = "null";
};

namespace detail {

inline const char *start(const Data &data) {
    if (!data)
        return nullptr;
    return data->data() ? data->data() : ""; // an empty text is no missing one
}
inline std::size_t size(const Data &data) { return data ? data->size() : 0; }

/** Events as C takes them, borrowed from the caller's. */
class NewEvents {
public:
    explicit NewEvents(const std::vector<NewEvent> &events) {
        for (const NewEvent &event : events)
            add(event);
    }
    const fes_new_event *data() const { return events_.data(); }
    std::size_t size() const { return events_.size(); }
    Failure fault() const { return fault_; }

private:
    void add(const NewEvent &event) {
        events_.push_back({event.type.c_str(), event.data.data(), event.data.size()});
        if (!fault_)
            fault_ = Text{"type", event.type}.fault();
    }
    std::vector<fes_new_event> events_;
    Failure fault_;
};

} // namespace detail

/** A time in seconds, of which there are enough for every year of a database. Compare it with
 *  `std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now())`. */
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::seconds>;

/** One event; its views live as long as its `Events`. */
struct Event {
    std::uint64_t id;
    std::string_view type;
    std::string_view data;
    Time ts;
};

namespace detail {

/** Frees events that are not borrowed. */
struct FreeEvents {
    bool borrowed = false;
    void operator()(const fes_events *events) const {
        if (!borrowed)
            fes_events_free(const_cast<fes_events *>(events));
    }
};

} // namespace detail

/** A batch of events: a range of random access. Views of a batch that ends with the statement do not compile. */
class [[nodiscard]] Events : public detail::Owner<const fes_events, detail::FreeEvents> {
public:
    using Owner::Owner;

    /** The events given to a callback: valid until it returns. */
    static Events borrowed(const fes_events *events) {
        Events out;
        out.handle_ = {events, detail::FreeEvents{true}};
        return out;
    }

    class Iterator {
        struct Arrow {
            Event event;
            const Event *operator->() const { return &event; }
        };

    public:
        using iterator_category = std::input_iterator_tag; // it makes the events that it gives
        using iterator_concept = std::random_access_iterator_tag;
        using value_type = Event;
        using difference_type = std::ptrdiff_t;
        using pointer = Arrow;
        using reference = Event;

        Iterator() = default;
        explicit Iterator(const fes_event *at) : at_(at) {}
        Event operator*() const { return view(*at_); }
        Arrow operator->() const { return {**this}; }
        Event operator[](difference_type distance) const { return view(at_[distance]); }

        Iterator &operator+=(difference_type distance) {
            at_ += distance;
            return *this;
        }
        Iterator &operator-=(difference_type distance) { return *this += -distance; }
        Iterator &operator++() { return *this += 1; }
        Iterator &operator--() { return *this -= 1; }
        Iterator operator++(int) { return std::exchange(*this, *this + 1); }
        Iterator operator--(int) { return std::exchange(*this, *this - 1); }
        friend Iterator operator+(Iterator it, difference_type distance) { return it += distance; }
        friend Iterator operator+(difference_type distance, Iterator it) { return it += distance; }
        friend Iterator operator-(Iterator it, difference_type distance) { return it -= distance; }
        friend difference_type operator-(Iterator a, Iterator b) { return a.at_ - b.at_; }
        friend bool operator==(Iterator a, Iterator b) { return a.at_ == b.at_; }
        friend bool operator!=(Iterator a, Iterator b) { return a.at_ != b.at_; }
        friend bool operator<(Iterator a, Iterator b) { return a.at_ < b.at_; }
        friend bool operator>(Iterator a, Iterator b) { return b < a; }
        friend bool operator<=(Iterator a, Iterator b) { return !(b < a); }
        friend bool operator>=(Iterator a, Iterator b) { return !(a < b); }

    private:
        const fes_event *at_ = nullptr;
    };

    [[nodiscard]] std::size_t size() const { return fes_events_count(get()); }
    [[nodiscard]] bool empty() const { return size() == 0; }
    /** `index` is below `size()`. */
    [[nodiscard]] Event operator[](std::size_t index) const &FES_LIFETIMEBOUND {
        return view(*fes_events_get(get(), index));
    }
    Event operator[](std::size_t index) const && = delete;
    /** There is at least one. */
    [[nodiscard]] Event back() const &FES_LIFETIMEBOUND { return (*this)[size() - 1]; }
    Event back() const && = delete;
    [[nodiscard]] Iterator begin() const &FES_LIFETIMEBOUND { return Iterator(fes_events_get(get(), 0)); }
    Iterator begin() const && = delete;
    [[nodiscard]] Iterator end() const &FES_LIFETIMEBOUND {
        return begin() + static_cast<std::ptrdiff_t>(size());
    }
    Iterator end() const && = delete;

    /** All as one JSON array. */
    [[nodiscard]] std::string_view json() const &FES_LIFETIMEBOUND { return text(fes_events_json); }
    std::string_view json() const && = delete;
    /** The data of all as one JSON array. */
    [[nodiscard]] std::string_view data_json() const &FES_LIFETIMEBOUND { return text(fes_events_data_json); }
    std::string_view data_json() const && = delete;

private:
    template <typename F> std::string_view text(F give) const {
        const char *start = nullptr;
        std::size_t len = 0;
        run([&](auto err) { return give(get(), &start, &len, err); });
        return detail::view(start, len);
    }
    static Event view(const fes_event &event) {
        const Time ts{std::chrono::seconds(event.ts)};
        return {event.id, {event.type, event.type_len}, {event.data, event.data_len}, ts};
    }
};

} // namespace FES_MODE
} // namespace fes

#endif
