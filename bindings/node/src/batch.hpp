// Events on their way to JavaScript: packed on a thread, few values to make on the event loop.
#pragma once

#include "js.hpp"

namespace fesnode {

// Some events, packed: lib/event.js unpacks them.
class Batch {
  public:
    // Copies. Throws CorruptEvent for data that is not JSON.
    static std::shared_ptr<const Batch> of(const fes_events *events);
    // Copies, and frees the events, also if it throws.
    static std::shared_ptr<const Batch> take(fes_events *events);

    // {numbers: ArrayBuffer, names: string[], text: string}. For n events `numbers` holds n ids
    // (uint64), n times in seconds (float64), n ends of the data in `text` (uint32, in UTF-16 units),
    // n indices into `names` (uint32). `text` is the JSON array of all data.
    napi_value value(napi_env env) const;

  private:
    void add_kind(const fes_event &event);

    std::vector<uint64_t> ids;
    std::vector<double> times;
    std::vector<uint32_t> ends;
    std::vector<uint32_t> kinds;
    std::vector<std::string> names;
    std::string text;
    bool ascii = true;
};

inline Give give(std::shared_ptr<const Batch> batch) {
    return [batch](napi_env env) { return batch->value(env); };
}

// Gives the rows of a query, each an array of values, and frees them.
Give give_rows(fes_rows *rows);

// The parameters of a statement, from an array of null, boolean, number, bigint, string, Uint8Array.
class Params {
  public:
    Params(napi_env env, napi_value array);
    Params(const Params &) = delete;
    const fes_value *data() const { return values.data(); }
    size_t size() const { return values.size(); }

  private:
    fes_value read(napi_env env, napi_value value, std::string &place);

    std::vector<std::string> places;
    std::vector<fes_value> values;
};

} // namespace fesnode
