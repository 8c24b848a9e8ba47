// Two consumers poll what they want, and acknowledge.
#include "example.hpp"

static void drain(fes::Consumer &consumer, const char *who, const fes::Want &want) {
    while (true) {
        const fes::Events events = consumer.poll({}, want);
        if (events.empty())
            return;
        print(who, events);
        consumer.acknowledge(events.back().id);
    }
}

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    fes::Consumer audit = stream.consumer("app", "Audit");
    fes::Consumer mailer = stream.consumer("app", "Mailer");
    audit.register_();
    mailer.register_();

    stream.add_event("USR_ADD", "1");
    stream.add_event("USR_MOD", "1");
    drain(audit, "audit", {});
    drain(mailer, "mailer", {"USR_ADD"});
    stream.add_event("USR_ADD", "2");
    drain(audit, "audit", {});
    drain(mailer, "mailer", {"USR_ADD"});
}
