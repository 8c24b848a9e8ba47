# Adds events, polls them, and receives one as it comes: ruby examples/ffi/events.rb [URL]
require 'ffi'
require 'json'

# What this program needs of futoin_eventstream.h. A status is a number; 0 is FES_OK.
module Fes
  extend FFI::Library
  ffi_lib 'libfutoin_eventstream.so.0'

  # One event of a batch.
  class Event < FFI::Struct
    layout :id, :uint64, :type, :string, :type_len, :size_t, :data, :string, :data_len, :size_t, :ts, :int64
  end

  attach_function :fes_error_name, [:pointer], :string
  attach_function :fes_error_message, [:pointer], :string
  attach_function :fes_error_free, [:pointer], :void
  attach_function :fes_stream_open, %i[string pointer pointer pointer], :uint32
  attach_function :fes_stream_migrate, %i[pointer pointer], :uint32
  attach_function :fes_stream_add_event, %i[pointer string string size_t pointer pointer], :uint32
  attach_function :fes_stream_subscribe,
                  %i[pointer string string pointer size_t pointer pointer pointer], :uint32
  attach_function :fes_stream_close, [:pointer], :void
  attach_function :fes_consumer_open, %i[pointer string string pointer pointer], :uint32
  attach_function :fes_consumer_register, %i[pointer pointer], :uint32
  # What may wait lets other threads of Ruby run: blocking.
  attach_function :fes_consumer_poll,
                  %i[pointer pointer pointer size_t size_t uint32 pointer pointer pointer], :uint32, blocking: true
  attach_function :fes_consumer_acknowledge, %i[pointer uint64 pointer], :uint32
  attach_function :fes_consumer_close, [:pointer], :void
  attach_function :fes_subscription_next,
                  %i[pointer uint32 pointer pointer pointer pointer], :uint32, blocking: true
  attach_function :fes_subscription_ack, %i[pointer pointer], :uint32
  attach_function :fes_subscription_close, [:pointer], :void
  attach_function :fes_events_count, [:pointer], :size_t
  attach_function :fes_events_get, %i[pointer size_t], Event.by_ref
  attach_function :fes_events_free, [:pointer], :void

  # A call that failed: its name, and what went wrong.
  class Error < StandardError
    attr_reader :name

    def initialize(error)
      @name = Fes.fes_error_name(error)
      super("#{name}: #{Fes.fes_error_message(error)}")
      Fes.fes_error_free(error)
    end
  end

  # Calls a function that may fail, with a place for the error as its last argument.
  def self.call(function, *arguments)
    err = FFI::MemoryPointer.new(:pointer)
    raise Error, err.read_pointer unless send(function, *arguments, err).zero?
  end

  # The same with a place for a result before that one, which it gives.
  def self.get(function, *arguments)
    out = FFI::MemoryPointer.new(:pointer)
    call(function, *arguments, out)
    out.read_pointer
  end

  def self.add(stream, type, data)
    json = JSON.generate(data)
    id = FFI::MemoryPointer.new(:uint64)
    call(:fes_stream_add_event, stream, type, json, json.bytesize, id)
    id.read_uint64
  end

  # Prints events, frees them, and gives the last id.
  def self.show(how, events)
    all = (0...fes_events_count(events)).map { |index| fes_events_get(events, index) }
    all.each { |event| puts "#{how} #{event[:id]} #{event[:type]} #{event[:data]}" }
    last = all.last[:id]
    fes_events_free(events)
    last
  end
end

stream = Fes.get(:fes_stream_open, ARGV[0] || 'sqlite::memory:', nil)
Fes.call(:fes_stream_migrate, stream)
audit = Fes.get(:fes_consumer_open, stream, 'app', 'Audit')
Fes.call(:fes_consumer_register, audit)

puts "added #{Fes.add(stream, 'USR_ADD', { name: 'Ann' })}"
puts "added #{Fes.add(stream, 'USR_MOD', { id: 1 })}"

# Polling: when the program asks.
events = Fes.get(:fes_consumer_poll, audit, nil, nil, 0, 1000, 0, nil)
Fes.call(:fes_consumer_acknowledge, audit, Fes.show('polled', events))

# Receiving: the call waits, up to 10 s here, and returns as soon as there is something.
audits = Fes.get(:fes_stream_subscribe, stream, 'app', 'Audit', nil, 0, nil)
adding = Thread.new { Fes.add(stream, 'USR_DEL', nil) }
place = FFI::MemoryPointer.new(:pointer)
Fes.call(:fes_subscription_next, audits, 10_000, nil, place, nil)
Fes.show('received', place.read_pointer)
Fes.call(:fes_subscription_ack, audits)
adding.join

# Text that is no event type is refused.
begin
  Fes.add(stream, 'lower case', nil)
rescue Fes::Error => e
  puts "refused: #{e.name}"
end
Fes.fes_subscription_close(audits)
Fes.fes_consumer_close(audit)
Fes.fes_stream_close(stream)
