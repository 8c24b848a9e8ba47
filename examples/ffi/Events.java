import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Adds events, polls them, and receives one as it comes: java -cp jna.jar examples/ffi/Events.java [URL] */
public class Events {
    /** What this program needs of futoin_eventstream.h, on a machine of 64 bits. A status is a number; 0 is FES_OK. */
    public interface Fes extends Library {
        String fes_error_name(Pointer error);
        String fes_error_message(Pointer error);
        void fes_error_free(Pointer error);
        int fes_stream_open(String url, Pointer options, PointerByReference out, PointerByReference err);
        int fes_stream_migrate(Pointer stream, PointerByReference err);
        int fes_stream_add_event(Pointer stream, String type, byte[] data, long len, LongByReference id,
                PointerByReference err);
        int fes_stream_subscribe(Pointer stream, String user, String component, Pointer types, long count,
                Pointer options, PointerByReference out, PointerByReference err);
        void fes_stream_close(Pointer stream);
        int fes_consumer_open(Pointer stream, String user, String component, PointerByReference out,
                PointerByReference err);
        int fes_consumer_register(Pointer consumer, PointerByReference err);
        int fes_consumer_poll(Pointer consumer, LongByReference lastId, Pointer types, long count, long limit,
                int timeoutMs, Pointer cancel, PointerByReference out, PointerByReference err);
        int fes_consumer_acknowledge(Pointer consumer, long lastId, PointerByReference err);
        void fes_consumer_close(Pointer consumer);
        int fes_subscription_next(Pointer subscription, int timeoutMs, Pointer cancel, PointerByReference out,
                LongByReference seq, PointerByReference err);
        int fes_subscription_ack(Pointer subscription, PointerByReference err);
        void fes_subscription_close(Pointer subscription);
        long fes_events_count(Pointer events);
        Event fes_events_get(Pointer events, long index);
        void fes_events_free(Pointer events);
    }

    /** One event of a batch. */
    @Structure.FieldOrder({"id", "type", "typeLength", "data", "dataLength", "ts"})
    public static class Event extends Structure {
        public long id;
        public String type;
        public long typeLength;
        public Pointer data;
        public long dataLength;
        public long ts;

        String json() {
            return new String(data.getByteArray(0, (int) dataLength), StandardCharsets.UTF_8);
        }
    }

    static final Fes FES = Native.load("futoin_eventstream", Fes.class, Map.of(Library.OPTION_STRING_ENCODING, "UTF-8"));
    /** Where calls leave their errors. */
    static final PointerByReference ERR = new PointerByReference();

    static void check(int status) {
        if (status != 0) {
            Pointer error = ERR.getValue();
            String text = FES.fes_error_name(error) + ": " + FES.fes_error_message(error);
            FES.fes_error_free(error);
            throw new IllegalStateException(text);
        }
    }

    static long add(Pointer stream, String type, String json) {
        byte[] data = json.getBytes(StandardCharsets.UTF_8);
        LongByReference id = new LongByReference();
        check(FES.fes_stream_add_event(stream, type, data, data.length, id, ERR));
        return id.getValue();
    }

    /** Prints events, frees them, and gives the last id. */
    static long show(String how, Pointer events) {
        long last = 0;
        for (long i = 0; i < FES.fes_events_count(events); i++) {
            Event event = FES.fes_events_get(events, i);
            last = event.id;
            System.out.println(how + " " + last + " " + event.type + " " + event.json());
        }
        FES.fes_events_free(events);
        return last;
    }

    public static void main(String[] arguments) {
        PointerByReference out = new PointerByReference();
        String url = arguments.length > 0 ? arguments[0] : "sqlite::memory:";
        check(FES.fes_stream_open(url, null, out, ERR));
        Pointer stream = out.getValue();
        check(FES.fes_stream_migrate(stream, ERR));
        check(FES.fes_consumer_open(stream, "app", "Audit", out, ERR));
        Pointer audit = out.getValue();
        check(FES.fes_consumer_register(audit, ERR));

        System.out.println("added " + add(stream, "USR_ADD", "{\"name\":\"Ann\"}"));
        System.out.println("added " + add(stream, "USR_MOD", "{\"id\":1}"));

        // Polling: when the program asks.
        check(FES.fes_consumer_poll(audit, null, null, 0, 1000, 0, null, out, ERR));
        check(FES.fes_consumer_acknowledge(audit, show("polled", out.getValue()), ERR));

        // Receiving: the call waits, up to 10 s here, and returns as soon as there is something.
        check(FES.fes_stream_subscribe(stream, "app", "Audit", null, 0, null, out, ERR));
        Pointer audits = out.getValue();
        add(stream, "USR_DEL", "null");
        check(FES.fes_subscription_next(audits, 10_000, null, out, null, ERR));
        show("received", out.getValue());
        check(FES.fes_subscription_ack(audits, ERR));

        // Text that is no event type is refused.
        if (FES.fes_stream_add_event(stream, "lower case", null, 0, null, ERR) != 0) {
            System.out.println("refused: " + FES.fes_error_name(ERR.getValue()));
            FES.fes_error_free(ERR.getValue());
        }
        FES.fes_subscription_close(audits);
        FES.fes_consumer_close(audit);
        FES.fes_stream_close(stream);
    }
}
