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
 * -fno-exceptions), nothing is thrown: a failure is kept for the thread, fes::last_error() gives it until the
 * next call that succeeds clears it, and a handle whose making failed is false in a condition.
 *
 * Handles are moved, not copied. A moved-from or failed handle may be asked anything and gives
 * FES_INVALID_ARGUMENT. Views (std::string_view) live as long as what they were taken from. A method is
 * named as the C function without its prefix; what it says of errors, units and threads holds here, too.
 */
#ifndef FUTOIN_EVENTSTREAM_HPP
#define FUTOIN_EVENTSTREAM_HPP

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
