// Events of their own: each is durable when the call returns.
#include "example.hpp"

int main(int argc, char **argv) {
    fes::Stream stream = open_stream(argc, argv);
    std::cout << "added " << stream.add_event("USR_ADD", R"({"name":"Ann"})") << '\n';

    // Many at once: all or none.
    const auto ids = stream.add_events({{"USR_MOD", R"({"id":1})"}, {"USR_DEL"}});
    std::cout << "added " << ids[0] << " and " << ids[1] << '\n';

    // Text that is no event type is refused.
    try {
        stream.add_event("lower case");
    } catch (const fes::Error &error) {
        std::cout << "refused: " << error.name() << '\n';
    }
}
