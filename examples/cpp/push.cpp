// Events as they come: taken from a subscription, or given to a callback.
#include "example.hpp"
#include <future>

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    stream.consumer("app", "Audit").register_();
    stream.add_event("USR_ADD", "1");
    {
        fes::Subscription subscription = stream.subscribe("app", "Audit");
        fes::Cancel cancel;
        for (fes::Delivery &delivery : subscription.deliveries(cancel)) {
            print("subscription", delivery.events);
            cancel.cancel(); // one is enough here
        }
    }

    std::promise<void> done;
    std::size_t received = 0;
    fes::Receiver receiver(stream, "app", "Mailer", [&](std::uint64_t, const fes::Events &events) {
        print("receiver", events);
        received += events.size();
        if (received == 2)
            done.set_value();
        return true; // acknowledges
    });
    receiver.start(); // registers itself
    stream.add_event("USR_MOD", "1");
    done.get_future().wait();
}
