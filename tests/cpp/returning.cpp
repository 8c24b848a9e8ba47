// The other half of throwing.cpp.
#include <futoin_eventstream.hpp>

bool returns_its_failures() {
    const fes::Options options{{"no", "1"}};
    const fes::Stream none("nonsense://");
    fes::Stream stream("sqlite::memory:");
    return options.error()->code() == FES_INVALID_OPTION && !none && none.error()->code() == FES_INVALID_URL &&
           stream.migrate() && stream.add_event("lower") == 0 && stream.error()->code() == FES_INVALID_TYPE &&
           stream.add_event("A") == 1 && !fes::last_error();
}
