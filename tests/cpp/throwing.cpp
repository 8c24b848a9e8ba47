// One program of two kinds of sources: this one has exceptions, returning.cpp has none.
#include "check.hpp"

bool returns_its_failures();

int main() {
    CHECK(returns_its_failures());
    FAILS(FES_INVALID_URL, fes::Stream("nonsense://"));
    FAILS(FES_INVALID_OPTION, fes::Options{{"no", "1"}});
    fes::Stream stream = in_memory();
    FAILS(FES_INVALID_TYPE, stream.add_event("lower"));
    CHECK(stream.add_event("A") == 1 && returns_its_failures());
    std::printf("%u checks\n", checks.load());
}
