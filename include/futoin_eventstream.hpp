/*
 * futoin-eventstream for C++17: handles that close themselves over futoin_eventstream.h, which tells what
 * every function does, its threads, and what callbacks may do.
 *
 *     fes::Stream stream("sqlite:app.db");
 *     stream.migrate();
 *     auto audit = stream.consumer("app", "Audit");
 *     audit.register_();
 *     stream.add_event("USR_ADD", R"({"id":1})");
 *     for (fes::Event event : audit.poll({}, {"USR_ADD"}, 1s)) {
 *         std::cout << event.id << ' ' << event.type << ' ' << event.data << '\n';
 *         audit.acknowledge(event.id);
 *     }
 *
 * A failure throws fes::Error, which has the status. With FES_NO_EXCEPTIONS defined before the include (or
 * -fno-exceptions), nothing is thrown: what fails gives false, 0, nothing, or a handle that is false in a
 * condition, and the compiler warns where that is ignored. The object keeps its first failure, error(), until
 * clear_error(); what is made by, or given, an object that could not be made fails for the same reason.
 * fes::last_error() is that of the thread's last call. One program may have sources of both kinds; objects do not
 * pass from one kind to the other.
 *
 * Handles are moved, not copied. A moved-from or failed handle is empty; it may be asked anything and gives
 * FES_INVALID_ARGUMENT. Views (std::string_view) live as long as what they were taken from, and those of what ends
 * with the statement do not compile. A text with a NUL inside is FES_INVALID_ARGUMENT. A method is named as the C
 * function without its prefix; what it says of errors, units and threads holds here, too.
 */
#ifndef FUTOIN_EVENTSTREAM_HPP
#define FUTOIN_EVENTSTREAM_HPP

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 201703L
#error "futoin_eventstream.hpp needs C++17: compile with -std=c++17 or newer, or use futoin_eventstream.h"
#else

#include "futoin_eventstream/app.hpp"
#include "futoin_eventstream/base.hpp"
#include "futoin_eventstream/consumer.hpp"
#include "futoin_eventstream/events.hpp"
#include "futoin_eventstream/history.hpp"
#include "futoin_eventstream/log.hpp"
#include "futoin_eventstream/receiver.hpp"
#include "futoin_eventstream/sql.hpp"
#include "futoin_eventstream/stream.hpp"

#endif

#endif
