// All together: the service app archives and discards, while a transaction adds and a consumer reads.
#include "example.hpp"
#include <atomic>
#include <thread>

int main(int argc, char **argv) {
    std::atomic<std::uint64_t> archived{0};
    fes::App app(argc > 1 ? argv[1] : "sqlite::memory:", argc > 2 ? argv[2] : "sqlite::memory:",
                 {{"enable_discarder", "true"}});
    app.migrate();
    app.on_notice([&](const fes::Notice &notice) { // from the threads of the app
        if (notice.kind == FES_NOTICE_PROCESSED_EVENTS)
            archived += notice.number;
        if (notice.error)
            std::cerr << fes_error_message(notice.error) << '\n';
    });
    app.start();

    fes::Stream stream = app.stream();
    fes::Consumer audit = stream.consumer("app", "Audit");
    audit.register_();
    fes::Transaction tx = stream.begin();
    tx.add_event("USR_ADD", R"({"name":"Ann"})");
    tx.add_event("USR_MOD", R"({"name":"Ann"})");
    tx.commit();

    const fes::Events events = audit.poll({}, {}, SIZE_MAX, std::chrono::seconds(10));
    print("audit", events);
    audit.acknowledge(events.back().id);
    while (archived < 2) // until the archiver is through
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::cout << "archived " << archived << '\n';
}
