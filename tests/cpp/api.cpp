// The C++ wrapper: every class does what the C functions do.
#include "check.hpp"

static void events_and_transactions() {
    fes::Stream stream("sqlite::memory:", {{"max_connections", "4"}});
    CHECK(stream && stream.kind() == FES_KIND_SQLITE);
    CHECK(stream.migrate());
    const auto id = stream.add_event("USR_ADD", R"({"n": 1.0})");
    const auto ids = stream.add_events({{"A"}, {"B", "2"}});
    CHECK(id == 1 && ids.size() == 2 && ids[1] == 3);
    auto tx = stream.begin();
    (void)tx.execute("CREATE TABLE t(a, b, c, d)");
    CHECK(tx.execute("INSERT INTO t VALUES (?, ?, ?, ?)", {"x", 7, 0.5, nullptr}) == 1);
    auto rows = tx.query("SELECT * FROM t");
    CHECK(rows.size() == 1 && rows.columns() == 4);
    CHECK(rows.at(0, 0).text() == "x" && rows.at(0, 1).integer() == 7);
    CHECK(rows.at(0, 2).real() > 0.4 && rows.at(0, 3).is_null() && rows.at(5, 5).is_null());
    rows = tx.query("SELECT ?, ?, ?", {fes::Bytes{"a\0b", 3}, std::uint64_t{7}, true});
    CHECK(rows.at(0, 0).kind() == FES_VALUE_BYTES && rows.at(0, 0).text() == std::string_view("a\0b", 3));
    CHECK(rows.at(0, 1).integer() == 7 && rows.at(0, 2).integer() == 1);
    CHECK(tx.add_event("NEW") > 0);
    CHECK(tx.commit());
    FAILS(FES_CLOSED, tx.commit());
    {
        auto lost = stream.begin();
        CHECK(lost.add_event("LOST") > 0);
        CHECK(lost.add_events({{"LOST"}, {"LOST"}}).size() == 2);
        CHECK(lost.rollback());
    }
    auto audit = stream.consumer("app", "Audit");
    FAILS(FES_NOT_REGISTERED, audit.poll());
    CHECK(audit.register_());
    auto events = audit.poll();
    std::string types;
    for (fes::Event event : events)
        types += std::string(event.type) + ";";
    CHECK(types == "USR_ADD;A;B;NEW;" && events[0].data == R"({"n": 1.0})");
    CHECK(events.back().id == 4 && events.json().substr(0, 9) == R"([{"id":"1)");
    CHECK(events.data_json() == R"([{"n": 1.0},null,2,null])");
    CHECK(std::next(events.begin(), 3)->id == 4);
    CHECK(events[0].ts > std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now()) - 1h);
    CHECK(audit.acknowledge(events.back().id));
    CHECK(audit.poll({}, {"A", "B"}, SIZE_MAX, 20ms).empty());
    FAILS(FES_INVALID_ARGUMENT, audit.poll({}, {}, 0)); // at most 0 events
    CHECK(stream.lag_json().find("app:Audit") != std::string::npos);
    CHECK(audit.unregister() && !audit.unregister() && audit.register_at(FES_START_NOW));
    auto statement = stream.statement("A", "1");
    CHECK(statement.sql().find("INSERT") == 0 && statement.type() == "A" && statement.data() == "1");
    const fes::Statement foreign(FES_KIND_POSTGRES, "A", "1");
    CHECK(foreign.sql().find("$1") != std::string_view::npos);
    FAILS(FES_INVALID_TYPE, stream.add_event("lower"));
    FAILS(FES_INVALID_URL, fes::Stream("nonsense://"));
    FAILS(FES_INVALID_OPTION, fes::Options{{"no", "1"}});
}

static void subscriptions() {
    fes::Stream stream = in_memory();
    auto consumer = stream.consumer("app", "Push");
    CHECK(consumer.register_());
    auto subscription = stream.subscribe("app", "Push", fes::Want{"WANTED"});
    CHECK(!subscription.next(0ms));
    fes::Cancel cancel;
    std::thread adder([&] {
        for (int i = 0; i < 3; i++) {
            CHECK(stream.add_event("OTHER") > 0);
            CHECK(stream.add_event("WANTED") > 0);
        }
    });
    std::size_t count = 0;
    for (fes::Delivery &delivery : subscription.deliveries(cancel)) {
        count += delivery.events.size();
        if (count == 3)
            cancel.cancel();
    }
    adder.join();
    CHECK(count == 3);
    FAILS(FES_CANCELLED, subscription.next(fes::forever, &cancel));
    CHECK(subscription.stats().delivered == 3);
}

static void receivers_may_be_assigned() {
    fes::Stream stream = in_memory();
    std::atomic<int> first{0}, second{0};
    auto make = [&](const char *name, std::atomic<int> &seen) {
        fes::Receiver receiver(stream, "app", name, [&](std::uint64_t, const fes::Events &events) {
            seen += static_cast<int>(events.size());
            return true;
        });
        CHECK(receiver.start());
        return receiver;
    };
    auto receiver = make("First", first);
    CHECK(stream.add_event("A") > 0);
    CHECK(becomes([&] { return first > 0; }));
    receiver = make("Second", second); // the first one ends before its callback goes
    CHECK(stream.add_event("A") > 0);
    CHECK(becomes([&] { return second == 2; })); // both events, in one delivery or two
    CHECK(first == 1 && receiver.stop_for(fes::forever));
    CHECK(receiver.stats().delivered == 2 && receiver.stats().failures == 0);
}

static void receivers_and_history() {
    fes::Stream stream = in_memory();
    std::atomic<int> seen{0}, failures{1}, stopped{0};
    {
        fes::Receiver receiver(stream, "app", "Back", [&](std::uint64_t, const fes::Events &events) {
            if (failures-- > 0) {
#ifdef FES_NO_EXCEPTIONS
                return false;
#else
                throw std::runtime_error("again");
#endif
            }
            seen += static_cast<int>(events.size());
            return true;
        });
        CHECK(receiver.want({"A"}));
        CHECK(receiver.options({{"queue_max", "10"}}));
        CHECK(receiver.poison(FES_POISON_RETRY));
        CHECK(receiver.on_notice(
            [&](const fes::Notice &notice) { stopped += notice.kind == FES_NOTICE_STOPPED; }));
        fes::Receiver moved(std::move(receiver));
        CHECK(moved && !receiver && !moved.is_running());
        CHECK(moved.start() && moved.start() && moved.is_running()); // the second start does nothing
        CHECK(stream.add_event("A") > 0);
        CHECK(becomes([&] { return seen > 0; }));
        // Refused after the start: the one before stays, and the refused one is never called.
        FAILS(FES_INVALID_ARGUMENT, moved.on_notice([&](const fes::Notice &) { stopped += 100; }));
        FAILS(FES_INVALID_ARGUMENT, receiver.on_notice([&](const fes::Notice &) { stopped += 100; }));
    }
    CHECK(seen == 1 && stopped == 1);
    fes::Warehouse warehouse("sqlite::memory:");
    CHECK(warehouse.migrate());
    fes::Archiver archiver(stream, warehouse);
    CHECK(archiver.run_once() == 1 && warehouse.history(1, {}, 10).size() == 1);
    CHECK(warehouse.kind() == FES_KIND_SQLITE);
    CHECK(stream.doctor_json(&warehouse, {"consumer"}).find("\"role_consumer\"") != std::string::npos);
    CHECK(stream.doctor_json().find("\"failure\"") == std::string::npos);
    CHECK(stream.verify_json(&warehouse).find("\"in_both\":1,") != std::string::npos);
    CHECK(stream.verify_json_for(10s).find("\"complete\":true,") != std::string::npos);
    CHECK(archiver.start() && archiver.is_running() && archiver.stop() && !archiver.is_running());
    CHECK(archiver.run_for(fes::forever).complete && !archiver.run_for(0ms).complete);
    fes::Replay replay(warehouse, stream, 1);
    CHECK(replay && replay.next(10).size() == 1 && replay.position() == 1);
    CHECK(replay.next_for(10, 20ms).empty());
    fes::Discarder discarder(stream);
    CHECK(stream.add_event("LAST") > 0);
    CHECK(discarder.run_once() == 1 && discarder.run_for(1s).complete);
    CHECK(discarder.start() && discarder.is_running() && discarder.stop_for(10s));
    CHECK(archiver.start() && archiver.stop_for(10s));
    fes::App app("sqlite::memory:", "sqlite::memory:");
    CHECK(app.migrate() && app.on_notice([](const fes::Notice &) {}) && app.start());
    auto own = app.stream();
    CHECK(own.add_event("A") == 1 && app.warehouse());
    CHECK(app.stop_for(10s));
}

static void versions_errors_and_log() {
    CHECK(fes::version() == FES_VERSION && fes::abi_fits());
    CHECK(fes::status_name(FES_BUSY) == "Busy");
    const fes::Error error(FES_BUSY, "held");
    CHECK(error.code() == FES_BUSY && error.name() == "Busy" && error.is_retriable());
    CHECK(std::string(error.what()) == "held" && error.sql_state().empty());
    std::atomic<int> messages{0};
    CHECK(fes::set_log([&](fes_log_level, std::string_view message) { messages += !message.empty(); },
                       FES_LOG_TRACE));
    {
        fes::Stream stream("sqlite::memory:");
        fes::Warehouse warehouse("sqlite::memory:"); // has no table: that is warned of
        CHECK(stream.migrate());
        CHECK(stream.add_event("A") > 0);
        fes::Archiver archiver(stream, warehouse);
        CHECK(archiver.start());
        CHECK(becomes([&] { return messages > 0; }));
    }
    CHECK(messages > 0 && fes::set_log({}));
}

static void unreadable_rows() {
    fes::Stream stream("sqlite::memory:", {{"check_json", "true"}});
    CHECK(stream.migrate());
    auto audit = stream.consumer("app", "Audit");
    CHECK(audit.register_());
    auto tx = stream.begin();
    CHECK(tx.execute("INSERT INTO evt_queue(type, data, ts) VALUES "
                     "('A', '1', 'never'), ('B', 'no JSON', datetime('now'))") == 2);
    CHECK(tx.commit());
    const auto fails = [&](auto call) {
#ifdef FES_NO_EXCEPTIONS
        call();
        return fes::last_error()->unreadable();
#else
        try {
            call();
        } catch (const fes::Error &error) {
            return error.unreadable();
        }
        return std::optional<fes::Unreadable>();
#endif
    };
    auto row = fails([&] { (void)audit.poll(); });
    CHECK(row && row->id == 1 && row->column == "ts" && row->type == "A" && row->data == "1" && row->ts == "never");
    CHECK(audit.skip(1));
    auto subscription = stream.subscribe("app", "Audit");
    row = fails([&] { (void)subscription.next(20s); });
    CHECK(row && row->id == 2 && row->column == "data" && row->data == "no JSON");
    CHECK(subscription.skip(2));
}

static void environment(const char *folder) {
    const std::string events = std::string(folder) + "/env.db", history = std::string(folder) + "/dwh.db";
    for (const auto &[name, value] : {std::pair<const char *, std::string>{"DB_EVT_TYPE", "sqlite"},
                                      {"DB_EVT_DB", events},
                                      {"DB_EVTDWH_TYPE", "sqlite"},
                                      {"DB_EVTDWH_DB", history}})
        setenv(name, value.c_str(), 1);
    CHECK(fes::Stream::from_env().migrate());
    CHECK(fes::Warehouse::from_env().migrate());
    auto app = fes::App::from_env({{"enable_discarder", "true"}});
    CHECK(app && app.stream() && app.warehouse());
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    versions_errors_and_log();
    environment(argv[1]);
    events_and_transactions();
    unreadable_rows();
    subscriptions();
    receivers_may_be_assigned();
    receivers_and_history();
    std::printf("%u checks\n", checks.load());
}
