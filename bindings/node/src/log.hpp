// The library's log, which is one for the process.
#pragma once

namespace fesnode {

class Loop;

// Ends the log if it goes to this environment.
void stop_log(const Loop &loop);

} // namespace fesnode
