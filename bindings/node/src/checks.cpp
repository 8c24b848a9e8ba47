// Checks of a stream.
#include "handle.hpp"
#include "modules.hpp"

namespace fesnode {

namespace {

Give give_text(fes_text *taken) {
    size_t size = 0;
    const char *data = fes_text_data(taken, &size);
    const std::string result(data, size);
    fes_text_free(taken);
    return [result](napi_env env) { return text(env, result); };
}

// doctor(stream, warehouse or undefined, roles): JSON
napi_value doctor(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const auto warehouse = args.has(1) ? args.handle(1, WAREHOUSE) : nullptr;
    const auto roles = std::make_shared<Want>(args.strings(2));
    return promise(env, nullptr, [stream, warehouse, roles]() -> Give {
        fes_text *checks = nullptr;
        must([&](fes_error **err) {
            auto *history = warehouse ? warehouse->as<fes_warehouse>() : nullptr;
            return fes_stream_doctor_json(stream->as<fes_stream>(), history, roles->data(), roles->size(), &checks,
                                          err);
        });
        return give_text(checks);
    });
}

// verify(stream, warehouse or undefined, fromId, toId, examples, timeout, token): JSON
napi_value verify(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const auto warehouse = args.has(1) ? args.handle(1, WAREHOUSE) : nullptr;
    const auto token = args.token(6);
    return promise(env, nullptr,
                   [stream, warehouse, token, from_id = args.id(2), to_id = args.id(3), examples = args.number(4),
                    timeout = args.number(5)]() -> Give {
                       fes_text *report = nullptr;
                       must([&](fes_error **err) {
                           auto *history = warehouse ? warehouse->as<fes_warehouse>() : nullptr;
                           return fes_stream_verify_json_for(stream->as<fes_stream>(), history, from_id, to_id,
                                                             examples, timeout, token->get(), &report, err);
                       });
                       return give_text(report);
                   });
}

} // namespace

void define_checks(Exports &exports) {
    exports.add<doctor>("doctor");
    exports.add<verify>("verify");
}

} // namespace fesnode
