<?php
// Adds events, polls them, and receives one as it comes: php examples/ffi/events.php [URL]
$header = getenv('FES_HEADER') ?: '/usr/local/include/futoin_eventstream_ffi.h';
$fes = FFI::cdef(file_get_contents($header), 'libfutoin_eventstream.so.0');
$err = $fes->new('fes_error *');

/** Ends the program after a failure, with a word on it. */
function check(int $status): void
{
    global $fes, $err;
    if ($status === $fes->FES_OK) {
        return;
    }
    fwrite(STDERR, $fes->fes_error_name($err) . ': ' . $fes->fes_error_message($err) . "\n");
    $fes->fes_error_free($err);
    exit(1);
}

/** Gives the id of the event. */
function add($stream, string $type, mixed $data): int
{
    global $fes, $err;
    $json = json_encode($data);
    $id = $fes->new('uint64_t');
    check($fes->fes_stream_add_event($stream, $type, $json, strlen($json), FFI::addr($id), FFI::addr($err)));
    return $id->cdata;
}

/** Prints events, frees them, and gives the last id. */
function show(string $how, $events): int
{
    global $fes;
    $id = 0;
    for ($i = 0; $i < $fes->fes_events_count($events); $i++) {
        $event = $fes->fes_events_get($events, $i);
        $id = $event->id;
        echo "$how $id ", FFI::string($event->type), ' ', FFI::string($event->data, $event->data_len), "\n";
    }
    $fes->fes_events_free($events);
    return $id;
}

$stream = $fes->new('fes_stream *');
check($fes->fes_stream_open($argv[1] ?? 'sqlite::memory:', null, FFI::addr($stream), FFI::addr($err)));
check($fes->fes_stream_migrate($stream, FFI::addr($err)));
$audit = $fes->new('fes_consumer *');
check($fes->fes_consumer_open($stream, 'app', 'Audit', FFI::addr($audit), FFI::addr($err)));
check($fes->fes_consumer_register($audit, FFI::addr($err)));

echo 'added ', add($stream, 'USR_ADD', ['name' => 'Ann']), "\n";
echo 'added ', add($stream, 'USR_MOD', ['id' => 1]), "\n";

// Polling: when the program asks.
$events = $fes->new('fes_events *');
check($fes->fes_consumer_poll($audit, null, null, 0, 1000, 0, null, FFI::addr($events), FFI::addr($err)));
check($fes->fes_consumer_acknowledge($audit, show('polled', $events), FFI::addr($err)));

// Receiving: the call waits, up to 10 s here, and returns as soon as there is something.
$audits = $fes->new('fes_subscription *');
check($fes->fes_stream_subscribe($stream, 'app', 'Audit', null, 0, null, FFI::addr($audits), FFI::addr($err)));
add($stream, 'USR_DEL', null);
check($fes->fes_subscription_next($audits, 10000, null, FFI::addr($events), null, FFI::addr($err)));
show('received', $events);
check($fes->fes_subscription_ack($audits, FFI::addr($err)));

// Text that is no event type is refused.
if ($fes->fes_stream_add_event($stream, 'lower case', null, 0, null, FFI::addr($err)) !== $fes->FES_OK) {
    echo 'refused: ', $fes->fes_error_name($err), "\n";
    $fes->fes_error_free($err);
}
$fes->fes_subscription_close($audits);
$fes->fes_consumer_close($audit);
$fes->fes_stream_close($stream);
