// Streams, and transactions.
#include "batch.hpp"
#include "handle.hpp"
#include "modules.hpp"

namespace fesnode {

namespace {

Give give_opened(const std::shared_ptr<Loop> &loop, fes_stream *stream) {
    return give(Handle::adopt(loop, stream, STREAM, Lanes::make()));
}

// openStream(url, options)
napi_value open(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr, [loop, url = args.string(0), options = Options(args, 1)] {
        fes_stream *stream = nullptr;
        must([&](fes_error **err) { return fes_stream_open(url.c_str(), options.get(), &stream, err); });
        return give_opened(loop, stream);
    });
}

// streamFromEnv(options)
napi_value from_env(napi_env env, const Args &args) {
    const auto loop = Loop::of(env);
    return promise(env, nullptr, [loop, options = Options(args, 0)] {
        fes_stream *stream = nullptr;
        must([&](fes_error **err) { return fes_stream_from_env(options.get(), &stream, err); });
        return give_opened(loop, stream);
    });
}

// streamKind(stream)
napi_value kind(napi_env env, const Args &args) {
    return number(env, fes_stream_kind(args.handle(0, STREAM)->as<fes_stream>()));
}

// migrate(stream)
napi_value migrate(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    return promise(env, stream->lanes.calls, [stream] {
        must([&](fes_error **err) { return fes_stream_migrate(stream->as<fes_stream>(), err); });
        return nothing();
    });
}

// lag(stream): JSON
napi_value lag(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    return promise(env, stream->lanes.calls, [stream]() -> Give {
        fes_text *json = nullptr;
        must([&](fes_error **err) { return fes_stream_lag_json(stream->as<fes_stream>(), &json, err); });
        const std::string result = fes_text_data(json, nullptr);
        fes_text_free(json);
        return [result](napi_env env) { return text(env, result); };
    });
}

// {sql, params}
napi_value statement_value(napi_env env, fes_statement *taken) {
    const std::unique_ptr<fes_statement, void (*)(fes_statement *)> statement(taken, fes_statement_free);
    napi_value result;
    ok(napi_create_object(env, &result));
    set(env, result, "sql", text(env, fes_statement_sql(taken, nullptr)));
    std::vector<napi_value> params;
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0;
        const char *param = fes_statement_param(taken, i, &size);
        params.push_back(text(env, std::string(param, size)));
    }
    set(env, result, "params", array(env, params));
    return result;
}

// statement(kind, type, data, options)
napi_value statement(napi_env env, const Args &args) {
    const std::string type = args.string(1), data = args.string(2);
    const Options options(args, 3);
    fes_statement *result = nullptr;
    must([&](fes_error **err) {
        return fes_event_statement(args.number(0), type.c_str(), data.data(), data.size(), options.get(), &result,
                                   err);
    });
    return statement_value(env, result);
}

// streamStatement(stream, type, data)
napi_value stream_statement(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const std::string type = args.string(1), data = args.string(2);
    fes_statement *result = nullptr;
    must([&](fes_error **err) {
        return fes_stream_statement(stream->as<fes_stream>(), type.c_str(), data.data(), data.size(), &result, err);
    });
    return statement_value(env, result);
}

// New events, from [type, data, type, data, ...].
class NewEvents {
  public:
    explicit NewEvents(std::vector<std::string> given) : texts(std::move(given)) {
        for (size_t i = 0; i + 1 < texts.size(); i += 2)
            events.push_back({texts[i].c_str(), texts[i + 1].data(), texts[i + 1].size()});
    }
    NewEvents(const NewEvents &) = delete;

    template <class Target, class Call> Give add(Target *target, Call call) const {
        std::vector<uint64_t> ids(events.size());
        must([&](fes_error **err) {
            return call(target, events.data(), events.size(), sizeof(fes_new_event), ids.data(), err);
        });
        return [ids](napi_env env) {
            std::vector<napi_value> values;
            for (const uint64_t id : ids)
                values.push_back(bigint(env, id));
            return array(env, values);
        };
    }

  private:
    std::vector<std::string> texts;
    std::vector<fes_new_event> events;
};

// addEvent(target, type, data): the id
template <class T, const Type &KIND, auto call> napi_value add_event(napi_env env, const Args &args) {
    const auto target = args.handle(0, KIND);
    return promise(env, target->lanes.calls, [target, type = args.string(1), data = args.string(2)] {
        uint64_t id = 0;
        must([&](fes_error **err) {
            return call(target->as<T>(), type.c_str(), data.data(), data.size(), &id, err);
        });
        return give_id(id);
    });
}

// addEvents(target, [type, data, ...]): the ids
template <class T, const Type &KIND, auto call> napi_value add_events(napi_env env, const Args &args) {
    const auto target = args.handle(0, KIND);
    const auto events = std::make_shared<NewEvents>(args.strings(1));
    return promise(env, target->lanes.calls,
                   [target, events] { return events->add(target->as<T>(), call); });
}

// begin(stream): a transaction, whose calls run in a lane of their own, one after the other
napi_value begin(napi_env env, const Args &args) {
    const auto stream = args.handle(0, STREAM);
    const auto loop = Loop::of(env);
    return promise(env, stream->lanes.begins, [loop, stream, place = args.place(0)] {
        fes_tx *tx = nullptr;
        must([&](fes_error **err) { return fes_stream_begin(stream->as<fes_stream>(), &tx, err); });
        return give(Handle::adopt(loop, tx, TX, {std::make_shared<Lane>(1), nullptr}, {place}));
    });
}

// execute(tx, sql, params): how many rows it touched
napi_value execute(napi_env env, const Args &args) {
    const auto tx = args.handle(0, TX);
    const auto params = std::make_shared<Params>(env, args[2]);
    return promise(env, tx->lanes.calls, [tx, params, sql = args.string(1)] {
        uint64_t rows = 0;
        must([&](fes_error **err) {
            return fes_tx_execute(tx->as<fes_tx>(), sql.c_str(), params->data(), params->size(), &rows, err);
        });
        return give_number(rows);
    });
}

// query(tx, sql, params): the rows
napi_value query(napi_env env, const Args &args) {
    const auto tx = args.handle(0, TX);
    const auto params = std::make_shared<Params>(env, args[2]);
    return promise(env, tx->lanes.calls, [tx, params, sql = args.string(1)] {
        fes_rows *rows = nullptr;
        must([&](fes_error **err) {
            return fes_tx_query(tx->as<fes_tx>(), sql.c_str(), params->data(), params->size(), &rows, err);
        });
        return give_rows(rows);
    });
}

// commit(tx), rollback(tx)
template <auto call> napi_value end(napi_env env, const Args &args) {
    const auto tx = args.handle(0, TX);
    return promise(env, tx->lanes.calls, [tx] {
        must([&](fes_error **err) { return call(tx->as<fes_tx>(), err); });
        return nothing();
    });
}

} // namespace

void define_stream(Exports &exports) {
    exports.add<open>("openStream");
    exports.add<from_env>("streamFromEnv");
    exports.add<kind>("streamKind");
    exports.add<migrate>("migrate");
    exports.add<lag>("lag");
    exports.add<statement>("statement");
    exports.add<stream_statement>("streamStatement");
    exports.add<add_event<fes_stream, STREAM, fes_stream_add_event>>("addEvent");
    exports.add<add_events<fes_stream, STREAM, fes_stream_add_events>>("addEvents");
    exports.add<begin>("begin");
    exports.add<execute>("execute");
    exports.add<query>("query");
    exports.add<add_event<fes_tx, TX, fes_tx_add_event>>("txAddEvent");
    exports.add<add_events<fes_tx, TX, fes_tx_add_events>>("txAddEvents");
    exports.add<end<fes_tx_commit>>("commit");
    exports.add<end<fes_tx_rollback>>("rollback");
}

} // namespace fesnode
