// The discarder deletes what every consumer has acknowledged, and nothing else.
#include "example.hpp"

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    fes::Consumer audit = stream.consumer("app", "Audit");
    audit.register_();
    fes::Discarder discarder(stream);

    stream.add_event("USR_ADD", "1");
    const std::uint64_t second = stream.add_event("USR_ADD", "2");
    stream.add_event("USR_ADD", "3");
    std::cout << "discarded " << discarder.run_once() << '\n'; // or start(), for ever
    audit.acknowledge(second);
    std::cout << "discarded " << discarder.run_once() << '\n';
    print("left", audit.poll());
}
