// The parts of the module, each in a file of its name.
#pragma once

#include "js.hpp"

namespace fesnode {

void define_stream(Exports &exports);
void define_consumer(Exports &exports);
void define_receiver(Exports &exports);
void define_history(Exports &exports);
void define_checks(Exports &exports);
void define_log(Exports &exports);

} // namespace fesnode
