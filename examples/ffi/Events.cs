using System;
using System.Runtime.InteropServices;
using System.Text;

/// What this program needs of futoin_eventstream.h. A status is a number; 0 is FES_OK.
static class Fes
{
    const string Library = "futoin_eventstream";

    [StructLayout(LayoutKind.Sequential)]
    public struct Event
    {
        public ulong Id;
        public IntPtr Type;
        public UIntPtr TypeLength;
        public IntPtr Data;
        public UIntPtr DataLength;
        public long Ts;
    }

    [DllImport(Library)] public static extern IntPtr fes_error_name(IntPtr error);
    [DllImport(Library)] public static extern IntPtr fes_error_message(IntPtr error);
    [DllImport(Library)] public static extern void fes_error_free(IntPtr error);
    [DllImport(Library)] public static extern uint fes_stream_open(byte[] url, IntPtr options, out IntPtr stream, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_stream_migrate(IntPtr stream, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_stream_add_event(IntPtr stream, byte[] type, byte[] data, UIntPtr length, out ulong id, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_stream_subscribe(IntPtr stream, byte[] user, byte[] component, IntPtr[] types, UIntPtr count, IntPtr options, out IntPtr subscription, out IntPtr err);
    [DllImport(Library)] public static extern void fes_stream_close(IntPtr stream);
    [DllImport(Library)] public static extern uint fes_consumer_open(IntPtr stream, byte[] user, byte[] component, out IntPtr consumer, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_consumer_register(IntPtr consumer, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_consumer_poll(IntPtr consumer, ulong[] lastId, IntPtr[] types, UIntPtr count, UIntPtr limit, uint timeoutMs, IntPtr cancel, out IntPtr events, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_consumer_acknowledge(IntPtr consumer, ulong lastId, out IntPtr err);
    [DllImport(Library)] public static extern void fes_consumer_close(IntPtr consumer);
    [DllImport(Library)] public static extern uint fes_subscription_next(IntPtr subscription, uint timeoutMs, IntPtr cancel, out IntPtr events, out ulong seq, out IntPtr err);
    [DllImport(Library)] public static extern uint fes_subscription_ack(IntPtr subscription, out IntPtr err);
    [DllImport(Library)] public static extern void fes_subscription_close(IntPtr subscription);
    [DllImport(Library)] public static extern UIntPtr fes_events_count(IntPtr events);
    [DllImport(Library)] public static extern IntPtr fes_events_get(IntPtr events, UIntPtr index);
    [DllImport(Library)] public static extern void fes_events_free(IntPtr events);
}

/// Adds events, polls them, and receives one as it comes: mcs examples/ffi/Events.cs && mono Events.exe [URL]
static class Events
{
    /// UTF-8, ended by a NUL.
    static byte[] Text(string text) { return Encoding.UTF8.GetBytes(text + "\0"); }

    static void Check(uint status, IntPtr error)
    {
        if (status == 0) return;
        string text = Marshal.PtrToStringAnsi(Fes.fes_error_name(error)) + ": "
            + Marshal.PtrToStringAnsi(Fes.fes_error_message(error));
        Fes.fes_error_free(error);
        throw new InvalidOperationException(text);
    }

    static ulong Add(IntPtr stream, string type, string json)
    {
        byte[] data = Encoding.UTF8.GetBytes(json);
        ulong id;
        IntPtr err;
        Check(Fes.fes_stream_add_event(stream, Text(type), data, (UIntPtr)data.Length, out id, out err), err);
        return id;
    }

    /// Prints events, frees them, and gives the last id.
    static ulong Show(string how, IntPtr events)
    {
        ulong last = 0;
        for (uint i = 0; i < (uint)Fes.fes_events_count(events); i++)
        {
            IntPtr place = Fes.fes_events_get(events, (UIntPtr)i);
            var found = (Fes.Event)Marshal.PtrToStructure(place, typeof(Fes.Event));
            var data = new byte[(int)found.DataLength];
            Marshal.Copy(found.Data, data, 0, data.Length);
            last = found.Id;
            Console.WriteLine("{0} {1} {2} {3}", how, last, Marshal.PtrToStringAnsi(found.Type), Encoding.UTF8.GetString(data));
        }
        Fes.fes_events_free(events);
        return last;
    }

    static void Main(string[] arguments)
    {
        IntPtr stream, audit, events, audits, err;
        string url = arguments.Length > 0 ? arguments[0] : "sqlite::memory:";
        Check(Fes.fes_stream_open(Text(url), IntPtr.Zero, out stream, out err), err);
        Check(Fes.fes_stream_migrate(stream, out err), err);
        Check(Fes.fes_consumer_open(stream, Text("app"), Text("Audit"), out audit, out err), err);
        Check(Fes.fes_consumer_register(audit, out err), err);

        Console.WriteLine("added {0}", Add(stream, "USR_ADD", "{\"name\":\"Ann\"}"));
        Console.WriteLine("added {0}", Add(stream, "USR_MOD", "{\"id\":1}"));

        // Polling: when the program asks.
        Check(Fes.fes_consumer_poll(audit, null, null, UIntPtr.Zero, (UIntPtr)1000, 0, IntPtr.Zero, out events, out err), err);
        Check(Fes.fes_consumer_acknowledge(audit, Show("polled", events), out err), err);

        // Receiving: the call waits, up to 10 s here, and returns as soon as there is something.
        Check(Fes.fes_stream_subscribe(stream, Text("app"), Text("Audit"), null, UIntPtr.Zero, IntPtr.Zero, out audits, out err), err);
        Add(stream, "USR_DEL", "null");
        ulong seq;
        Check(Fes.fes_subscription_next(audits, 10000, IntPtr.Zero, out events, out seq, out err), err);
        Show("received", events);
        Check(Fes.fes_subscription_ack(audits, out err), err);

        // Text that is no event type is refused.
        ulong none;
        if (Fes.fes_stream_add_event(stream, Text("lower case"), null, UIntPtr.Zero, out none, out err) != 0)
        {
            Console.WriteLine("refused: {0}", Marshal.PtrToStringAnsi(Fes.fes_error_name(err)));
            Fes.fes_error_free(err);
        }
        Fes.fes_subscription_close(audits);
        Fes.fes_consumer_close(audit);
        Fes.fes_stream_close(stream);
    }
}
