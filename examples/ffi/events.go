// Adds events, polls them, and receives one as it comes: go run examples/ffi/events.go [URL]
package main

/*
#cgo pkg-config: futoin_eventstream
#include <futoin_eventstream.h>
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

// failure takes the error of a call; nil if there is none.
func failure(status C.fes_status, err *C.fes_error) error {
	if status == C.FES_OK {
		return nil
	}
	defer C.fes_error_free(err)
	return fmt.Errorf("%s: %s", C.GoString(C.fes_error_name(err)), C.GoString(C.fes_error_message(err)))
}

// check ends the program after a failure, with a word on it.
func check(status C.fes_status, err *C.fes_error) {
	if why := failure(status, err); why != nil {
		fmt.Fprintln(os.Stderr, why)
		os.Exit(1)
	}
}

// text is a C string; this program frees none of its few.
func text(s string) *C.char { return C.CString(s) }

func add(stream *C.fes_stream, kind, json string) (id C.uint64_t) {
	var err *C.fes_error
	data := text(json)
	defer C.free(unsafe.Pointer(data))
	check(C.fes_stream_add_event(stream, text(kind), data, C.size_t(len(json)), &id, &err), err)
	return
}

// show prints events, frees them, and gives the last id.
func show(how string, events *C.fes_events) (id C.uint64_t) {
	for i := C.size_t(0); i < C.fes_events_count(events); i++ {
		event := C.fes_events_get(events, i)
		id = event.id
		fmt.Println(how, id, C.GoString(event._type), C.GoStringN(event.data, C.int(event.data_len)))
	}
	C.fes_events_free(events)
	return
}

func main() {
	url := "sqlite::memory:"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	var err *C.fes_error
	var stream *C.fes_stream
	check(C.fes_stream_open(text(url), nil, &stream, &err), err)
	defer C.fes_stream_close(stream)
	check(C.fes_stream_migrate(stream, &err), err)
	var audit *C.fes_consumer
	check(C.fes_consumer_open(stream, text("app"), text("Audit"), &audit, &err), err)
	defer C.fes_consumer_close(audit)
	check(C.fes_consumer_register(audit, &err), err)

	fmt.Println("added", add(stream, "USR_ADD", `{"name":"Ann"}`))
	fmt.Println("added", add(stream, "USR_MOD", `{"id":1}`))

	// Polling: when the program asks.
	var events *C.fes_events
	check(C.fes_consumer_poll(audit, nil, nil, 0, 1000, 0, nil, &events, &err), err)
	check(C.fes_consumer_acknowledge(audit, show("polled", events), &err), err)

	// Receiving: the call waits, up to 10 s here, and returns as soon as there is something. It holds a
	// thread of its own meanwhile, as every call of C; other goroutines go on.
	var audits *C.fes_subscription
	check(C.fes_stream_subscribe(stream, text("app"), text("Audit"), nil, 0, nil, &audits, &err), err)
	defer C.fes_subscription_close(audits)
	go add(stream, "USR_DEL", "null")
	check(C.fes_subscription_next(audits, 10000, nil, &events, nil, &err), err)
	show("received", events)
	check(C.fes_subscription_ack(audits, &err), err)

	// Text that is no event type is refused.
	if C.fes_stream_add_event(stream, text("lower case"), nil, 0, nil, &err) != C.FES_OK {
		fmt.Println("refused:", C.GoString(C.fes_error_name(err)))
		C.fes_error_free(err)
	}
}
