// What a C++ program may get wrong without a word from the compiler: it is right all the same, or an error.
#include "check.hpp"

#include <algorithm>
#include <limits>
#if __cplusplus >= 202002L
#include <ranges>
#endif

/** Moves `object` away; what is left may be asked. */
template <typename T> static T &moved_from(T &object) {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);
    const T taken(std::move(object));
    return object;
}

static void what_was_moved_from_is_empty() {
    fes::Stream stream = in_memory();
    CHECK(stream.add_event("A", R"("hello")") == 1);
    fes::Consumer consumer = stream.consumer("app", "Audit");
    CHECK(consumer.register_());

    fes::Events events = consumer.poll();
    CHECK(moved_from(events).size() == 0 && events.empty() && events.begin() == events.end());
    for (fes::Event event : events)
        CHECK(event.id == 0 && "there is none");
    FAILS(FES_INVALID_ARGUMENT, events.json().size());
    FAILS(FES_INVALID_ARGUMENT, events.data_json().size());

    fes::Transaction tx = stream.begin();
    fes::Rows rows = tx.query("SELECT 1");
    CHECK(moved_from(rows).size() == 0 && rows.columns() == 0 && rows.at(0, 0).is_null());
    FAILS(FES_INVALID_ARGUMENT, moved_from(tx).commit());
    fes::Statement statement = stream.statement("A");
    CHECK(moved_from(statement).sql().empty() && statement.type().empty() && statement.data().empty());
    fes::Subscription subscription = stream.subscribe("app", "Audit");
    FAILS(FES_INVALID_ARGUMENT, moved_from(subscription).next(0ms));
    FAILS(FES_INVALID_ARGUMENT, moved_from(consumer).poll());

    fes::Warehouse warehouse("sqlite::memory:");
    CHECK(warehouse.migrate());
    fes::Archiver archiver(stream, warehouse);
    CHECK(!moved_from(archiver).is_running());
    FAILS(FES_INVALID_ARGUMENT, archiver.run_once());
    fes::Discarder discarder(stream);
    CHECK(!moved_from(discarder).is_running());
    fes::Replay replay(warehouse, stream, 1);
    CHECK(moved_from(replay).position() == 0);
    fes::Receiver receiver(stream, "app", "Back", [](std::uint64_t, const fes::Events &) { return true; });
    FAILS(FES_INVALID_ARGUMENT, moved_from(receiver).start());
    CHECK(!receiver.is_running());
    FAILS(FES_INVALID_ARGUMENT, receiver.on_notice([](const fes::Notice &) {}));
    fes::App app("sqlite::memory:", std::nullopt);
    FAILS(FES_INVALID_ARGUMENT, moved_from(app).stream());
    CHECK(moved_from(warehouse).kind() == 0);
    FAILS(FES_INVALID_ARGUMENT, stream.doctor_json(&warehouse)); // not the stream alone
    CHECK(says("warehouse"));

    fes::Options options{{"max_connections", "4"}};
    FAILS(FES_INVALID_ARGUMENT, moved_from(options).set("max_connections", "5"));
    fes::Cancel cancel;
    moved_from(cancel).cancel();
    CHECK(!cancel.is_cancelled());
    fes::Want want{"A", "B"};
    CHECK(moved_from(want).size() == 0 && !want.data());
    fes::Value value("x");
    CHECK(moved_from(value).text().empty());
    CHECK(moved_from(stream).kind() == 0);
    FAILS(FES_INVALID_ARGUMENT, stream.consumer("app", "Audit"));
    static_assert(std::is_nothrow_copy_constructible_v<fes::Error>);
}

/** Whether both ends of a type of numbers come back from the database. */
template <typename T> static void number() {
    static_assert(std::is_convertible_v<T, fes::Value> && std::is_convertible_v<std::optional<T>, fes::Value>);
    fes::Stream stream("sqlite::memory:");
    fes::Transaction tx = stream.begin();
    const auto lowest = std::numeric_limits<T>::lowest();
    const T highest = sizeof(T) < 8 ? std::numeric_limits<T>::max()
                                    : static_cast<T>(std::numeric_limits<std::int64_t>::max());
    const fes::Rows rows = tx.query("SELECT ?, ?, typeof(?)", {lowest, std::optional<T>(highest), highest});
    CHECK(rows.at(0, 0).integer() == static_cast<std::int64_t>(lowest));
    CHECK(rows.at(0, 1).integer() == static_cast<std::int64_t>(highest) && rows.at(0, 2).text() == "integer");
}

template <typename... T> static void numbers() { (number<T>(), ...); }

template <typename... T> constexpr bool none_is_a_value = !(std::is_constructible_v<fes::Value, T> || ...);

static void values_are_what_they_look_like() {
    numbers<bool, char, signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long>();
    numbers<long long, unsigned long long, std::size_t, std::ptrdiff_t, std::int8_t, std::uint32_t, std::time_t>();
    static_assert(none_is_a_value<int *, void *, const void *, const unsigned char *, const wchar_t *, void (*)()>);
    static_assert(none_is_a_value<wchar_t, char16_t, char32_t, int fes::NewEvent::*, fes::Stream>);
    CHECK(fes::Value(true).kind() == FES_VALUE_BOOL && fes::Value('a').integer() == 97);
    CHECK(fes::Value(1.5f).real() > 1.4 && fes::Value(1.5L).real() > 1.4);
    const char *none = nullptr;
    CHECK(fes::Value(none).is_null() && fes::Value(std::nullopt).is_null() && fes::Value(nullptr).is_null());
    const fes::Value given(std::optional("x"));
    CHECK(fes::Value(std::optional<std::string>()).is_null() && given.text() == "x");

    // A value holds its text.
    std::vector<fes::Value> params;
    const std::string name = "Ann";
    params.push_back(name + " Smith of a road that is too long to be kept inside of a string");
    params.push_back(fes::Bytes{std::string("a\0b", 3).data(), 3});
    params.push_back(std::string_view("a\0b", 3));
    fes::Stream stream("sqlite::memory:");
    fes::Transaction tx = stream.begin();
    const fes::Rows rows = tx.query("SELECT ?, hex(?), hex(?), ?", {params[0], params[1], params[2], ""});
    CHECK(rows.at(0, 0).text() == params[0].text() && rows.at(0, 1).text() == "610062");
    CHECK(rows.at(0, 2).text() == "610062" && !rows.at(0, 3).is_null() && rows.at(0, 3).text().empty());
    const fes::Value copied = tx.query("SELECT 'a text that outlives its rows, as it is a copy'").at(0, 0);
    CHECK(copied.text() == "a text that outlives its rows, as it is a copy");
    CHECK(tx.query("SELECT 7").at(0, 0).integer() == 7);

    // What does not fit is an error, not another number.
    const std::uint64_t large = std::uint64_t{1} << 63;
    FAILS(FES_INVALID_ARGUMENT, tx.query("SELECT ?", {large}));
    CHECK(says("9223372036854775808"));
    FAILS(FES_INVALID_ARGUMENT, fes::Value(large).integer());
    CHECK(says("9223372036854775808") && fes::Value(large).unsigned_integer() == large);
}

static void texts_are_never_cut() {
    fes::Stream stream = in_memory();
    const std::string nul("A\0B", 3);
    FAILS(FES_INVALID_ARGUMENT, fes::Stream("sqlite::memory:" + nul));
    CHECK(says("url") && says("NUL at byte 16 of 18"));
    FAILS(FES_INVALID_ARGUMENT, fes::Warehouse("sqlite::memory:" + nul));
    FAILS(FES_INVALID_ARGUMENT, fes::App("sqlite::memory:" + nul, std::nullopt));
    FAILS(FES_INVALID_ARGUMENT, fes::App("sqlite::memory:", "sqlite::memory:" + nul));
    FAILS(FES_INVALID_ARGUMENT, fes::Options{{"max_connections", nul}});
    FAILS(FES_INVALID_ARGUMENT, fes::Options{{nul, "4"}});
    FAILS(FES_INVALID_ARGUMENT, stream.add_event(nul));
    FAILS(FES_INVALID_ARGUMENT, stream.add_events({{"A"}, {nul}}));
    FAILS(FES_INVALID_DATA, stream.add_event("A", nul));
    FAILS(FES_INVALID_ARGUMENT, stream.statement(nul));
    FAILS(FES_INVALID_ARGUMENT, fes::Statement(FES_KIND_SQLITE, nul));
    FAILS(FES_INVALID_ARGUMENT, stream.consumer(nul, "B"));
    FAILS(FES_INVALID_ARGUMENT, stream.consumer("a", nul));
    FAILS(FES_INVALID_ARGUMENT, stream.subscribe(nul, "B"));
    FAILS(FES_INVALID_ARGUMENT, stream.subscribe("a", nul));
    FAILS(FES_INVALID_ARGUMENT, stream.doctor_json(nullptr, {nul}));
    const auto call = [](std::uint64_t, const fes::Events &) { return true; };
    FAILS(FES_INVALID_ARGUMENT, fes::Receiver(stream, nul, "B", call));
    FAILS(FES_INVALID_ARGUMENT, fes::Receiver(stream, "a", nul, call));
    fes::Consumer consumer = stream.consumer("a", "B");
    CHECK(consumer.register_());
    FAILS(FES_INVALID_ARGUMENT, consumer.poll({}, fes::Want(std::vector<std::string>{"A", nul})));
    CHECK(consumer.poll().empty());
    fes::Transaction tx = stream.begin();
    FAILS(FES_INVALID_ARGUMENT, tx.execute(std::string("CREATE TABLE t(x)\0;", 19)));
    FAILS(FES_INVALID_ARGUMENT, tx.query(std::string("SELECT 1\0;", 10)));
    FAILS(FES_INVALID_ARGUMENT, tx.add_event(nul));
    FAILS(FES_INVALID_ARGUMENT, tx.add_events({{nul}}));
    CHECK(fes::Error(FES_BUSY, nul).code() == FES_BUSY);
}

static void an_empty_text_is_no_missing_one() {
    fes::Stream stream = in_memory();
    CHECK(stream.add_event("A") == 1 && stream.add_event("A", std::nullopt) == 2);
    for (const std::string_view empty : {std::string_view(), std::string_view("")}) {
        FAILS(FES_INVALID_DATA, stream.add_event("A", empty));
        CHECK(says("null"));
        FAILS(FES_INVALID_DATA, stream.statement("A", empty));
        FAILS(FES_INVALID_DATA, stream.begin().add_event("A", empty));
        FAILS(FES_INVALID_DATA, stream.add_events({{"A", std::string(empty)}}));
    }
    CHECK(fes::App("sqlite::memory:", std::nullopt).start());
    FAILS(FES_INVALID_URL, fes::App("sqlite::memory:", ""));
    CHECK(says("null"));
    FAILS(FES_INVALID_ARGUMENT, fes::Receiver(stream, "a", "B", nullptr));
}

static void times_do_not_overflow() {
    fes::Stream stream = in_memory();
    fes::Consumer consumer = stream.consumer("app", "Audit");
    CHECK(consumer.register_());
    fes::Transaction tx = stream.begin();
    CHECK(tx.execute("INSERT INTO evt_queue(type, data, ts) VALUES ('A', '1', '9999-12-31 23:59:59'), "
                     "('A', '1', '0001-01-01 00:00:00')") == 2);
    CHECK(tx.commit());
    const fes::Events events = consumer.poll();
    CHECK(events[0].ts.time_since_epoch() == std::chrono::seconds(253402300799));
    CHECK(events[1].ts.time_since_epoch() == std::chrono::seconds(-62135596800));
}

static void events_are_a_range() {
    fes::Stream stream = in_memory();
    fes::Consumer consumer = stream.consumer("app", "Audit");
    CHECK(consumer.register_());
    CHECK(stream.add_events({{"A"}, {"B"}, {"C"}}).size() == 3);
    const fes::Events events = consumer.poll();
    const auto first = events.begin();
    CHECK(first[2].type == "C" && events.end() - first == 3 && first < first + 1);
    CHECK((2 + first)->id == (events.end() - 1)->id);
    CHECK(std::count_if(first, events.end(), [](fes::Event event) { return event.id > 1; }) == 2);
    std::vector<std::uint64_t> ids;
    for (fes::Event event : consumer.poll()) // lives until the loop ends
        ids.push_back(event.id);
    CHECK(ids.size() == 3); // none was acknowledged
#if __cplusplus >= 202002L
    static_assert(std::ranges::random_access_range<const fes::Events> && std::ranges::sized_range<fes::Events>);
    static_assert(std::ranges::common_range<fes::Events> && !std::ranges::borrowed_range<fes::Events>);
    CHECK(std::ranges::find(events, std::string_view("B"), &fes::Event::type)->id == 2);
#endif
}

/** Gives what a receiver with this callback says of its failure. */
static std::string told(fes::OnEvents on_events, fes_notice kind) {
    fes::Stream stream = in_memory();
    fes::Receiver receiver(stream, "app", "Back", std::move(on_events));
    std::string text;
    std::atomic<bool> done{false};
    CHECK(receiver.poison(FES_POISON_SKIP_AFTER, 1) && receiver.on_notice([&](const fes::Notice &notice) {
        if (notice.kind == kind && !done.exchange(true))
            text = notice.text;
    }));
    CHECK(receiver.start() && stream.add_event("A") == 1);
    CHECK(becomes([&] { return done.load(); }) && receiver.stop());
    return text;
}

static void a_callback_tells_why_it_fails() {
    const auto no = [](std::uint64_t, const fes::Events &) { return false; };
    CHECK(told(no, FES_NOTICE_SKIPPED) == "the callback returned 1");
    for (const fes_notice kind : {FES_NOTICE_RECEIVER_ERROR, FES_NOTICE_SKIPPED}) {
        const auto refuse = [](std::uint64_t, const fes::Events &events) {
            return fes_events_refuse(events.get(), "the disk is full") == 0;
        };
        CHECK(told(refuse, kind) == "the disk is full");
#ifndef FES_NO_EXCEPTIONS
        const auto fail = [](std::uint64_t, const fes::Events &) -> bool {
            throw std::runtime_error("no space on /var/mail");
        };
        CHECK(told(fail, kind) == "no space on /var/mail");
        const auto odd = [](std::uint64_t, const fes::Events &) -> bool { throw 7; };
        CHECK(told(odd, kind).find("std::exception") != std::string::npos);
#endif
    }
}

#ifdef FES_NO_EXCEPTIONS
/** Whether the object was made, or could not be for this reason, which its calls then give, too. */
template <typename T> static bool failed(const T &object, fes_status status) {
    return !object && object.error() && object.error()->code() == status;
}

static void failures_are_kept() {
    const fes::Options mistyped{{"max_conections", "4"}, {"sqlite_synchronous", "normal"}};
    CHECK(!fes::last_error() && mistyped.error()->code() == FES_INVALID_OPTION);
    fes::Stream stream("sqlite::memory:", mistyped);
    CHECK(failed(stream, FES_INVALID_OPTION));
    CHECK(std::string(stream.error()->what()).find("max_conections") != std::string::npos);
    CHECK(!stream.migrate() && fes::last_error()->code() == FES_INVALID_OPTION);

    // What is made by it, or of it, says the same.
    CHECK(failed(fes::Stream::from_env(mistyped), FES_INVALID_OPTION));
    CHECK(failed(fes::Warehouse("sqlite::memory:", mistyped), FES_INVALID_OPTION));
    CHECK(failed(fes::App("sqlite::memory:", std::nullopt, mistyped), FES_INVALID_OPTION));
    CHECK(failed(fes::Statement(FES_KIND_SQLITE, "A", "1", mistyped), FES_INVALID_OPTION));
    CHECK(failed(fes::Discarder(stream), FES_INVALID_OPTION));
    fes::Transaction tx = stream.begin();
    CHECK(failed(tx, FES_INVALID_OPTION) && failed(tx.query("SELECT 1"), FES_INVALID_OPTION));
    fes::Consumer consumer = stream.consumer("app", "Audit");
    CHECK(failed(consumer, FES_INVALID_OPTION) && failed(consumer.poll(), FES_INVALID_OPTION));
    const fes::Receiver receiver(stream, "app", "Back", [](std::uint64_t, const fes::Events &) { return true; });
    CHECK(failed(receiver, FES_INVALID_OPTION));
    const fes::Warehouse warehouse("sqlite::memory:");
    CHECK(failed(fes::Replay(warehouse, stream, 1), FES_INVALID_OPTION));
    CHECK(failed(fes::Archiver(stream, warehouse), FES_INVALID_OPTION));

    // The first failure stays, whatever comes after, until it is cleared; it goes where the object goes.
    fes::Stream good = in_memory();
    CHECK(!good.error() && failed(good.subscribe("app", "Audit", {}, mistyped), FES_INVALID_OPTION));
    CHECK(good.error()->code() == FES_INVALID_OPTION);
    CHECK(good.add_event("lower") == 0 && good.add_event("A") == 1 && !fes::last_error());
    CHECK(good.error()->code() == FES_INVALID_OPTION);
    good.clear_error();
    CHECK(!good.error() && good.add_event("lower") == 0 && good.error()->code() == FES_INVALID_TYPE);
    const fes::Stream there(std::move(good));
    CHECK(there.error()->code() == FES_INVALID_TYPE && !good.error());

    // A handle is used by several threads.
    fes::Stream shared = in_memory();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&] {
            for (int n = 0; n < 50; n++)
                CHECK(shared.add_event("lower") == 0 && shared.error());
        });
    for (std::thread &thread : threads)
        thread.join();
}
#endif

int main() {
    what_was_moved_from_is_empty();
    values_are_what_they_look_like();
    texts_are_never_cut();
    an_empty_text_is_no_missing_one();
    times_do_not_overflow();
    events_are_a_range();
    a_callback_tells_why_it_fails();
#ifdef FES_NO_EXCEPTIONS
    failures_are_kept();
#endif
    std::printf("%u checks\n", checks.load());
}
