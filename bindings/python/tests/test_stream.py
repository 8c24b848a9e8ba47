"""Adding events, transactions, what comes back, errors."""

from __future__ import annotations

import gc
import math
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from conftest import Db, everything

import futoin_eventstream as fes


def test_an_event_comes_back_as_it_was_added(stream: fes.EventStream) -> None:
    data = {"id": 1, "name": "Änn 😀", "big": 2**70, "real": 1.5, "none": None, "list": [True, {}]}
    before = datetime.now(timezone.utc)
    event_id = stream.add_event("USR_ADD", data)
    (event,) = everything(stream)
    assert (event.id, event.type, event.data) == (event_id, "USR_ADD", data)
    assert event.raw == '{"id":1,"name":"Änn 😀","big":1180591620717411303424,"real":1.5,"none":null,"list":[true,{}]}'
    assert event.ts.tzinfo is timezone.utc
    assert abs(event.ts - before) < timedelta(seconds=60)


def test_json_text_is_added_and_read_back_unchanged(stream: fes.EventStream) -> None:
    text = '{ "b" : 1.10, "a" : 12345678901234567890.0, "\\u00e4":1e2 }'
    stream.add_event("RAW", fes.Json(text))
    (event,) = everything(stream)
    assert event.raw == text
    assert event.data == {"b": 1.1, "a": 12345678901234567890.0, "ä": 100.0}
    stream.add_event("RAW", fes.Json(event.raw))
    assert everything(stream)[1].raw == text


def test_many_events_are_added_at_once_in_order(stream: fes.EventStream) -> None:
    ids = stream.add_events([("EVT_A", {"n": 0}), ("EVT_B",), *(("EVT_C", n) for n in range(2500))])
    assert ids == sorted(set(ids)) and len(ids) == 2502
    events = everything(stream)
    assert [event.id for event in events] == ids
    assert [event.data for event in events] == [{"n": 0}, None, *range(2500)]
    assert stream.add_events([]) == []


def test_one_bad_event_adds_none(stream: fes.EventStream) -> None:
    with pytest.raises(fes.InvalidType):
        stream.add_events([("GOOD", 1), ("not good", 2)])
    assert everything(stream) == []


def test_a_transaction_commits_changes_and_events_together(stream: fes.EventStream) -> None:
    mark = "$1" if stream.kind == "postgres" else "?"
    with stream.begin() as tx:
        tx.execute("CREATE TABLE users(name VARCHAR(80))")
    with stream.begin() as tx:
        assert tx.execute(f"INSERT INTO users(name) VALUES ({mark})", ["Ann"]) == 1
        first = tx.add_event("USR_ADD", {"name": "Ann"})
        more = tx.add_events([("USR_MOD", 1), ("USR_MOD", 2)])
        assert tx.query("SELECT name FROM users") == [("Ann",)]
    assert [event.id for event in everything(stream)] == [first, *more]


@pytest.mark.parametrize(("sql", "committed"), [("COMMIT", 1), ("ROLLBACK", 0)])
def test_a_transaction_that_the_callers_sql_has_ended_says_so(
    stream: fes.EventStream, sql: str, committed: int
) -> None:
    tx = stream.begin()
    tx.add_event("BEFORE")
    with pytest.raises(fes.TransactionEnded) as told:
        tx.execute(sql)
    assert sql in str(told.value)
    with pytest.raises(fes.TransactionEnded):
        tx.add_event("AFTER")
    with pytest.raises(fes.TransactionEnded):
        tx.query("SELECT 1")
    with pytest.raises(fes.TransactionEnded):
        tx.commit()
    with pytest.raises(fes.TransactionEnded):
        with stream.begin() as tx:
            tx.query(sql)
    assert [event.type for event in everything(stream)] == ["BEFORE"] * committed


def test_an_exception_rolls_a_transaction_back(stream: fes.EventStream) -> None:
    with stream.begin() as tx:
        tx.execute("CREATE TABLE users(name VARCHAR(80))")
    with pytest.raises(ZeroDivisionError):
        with stream.begin() as tx:
            tx.execute("INSERT INTO users(name) VALUES ('Ann')")
            tx.add_event("USR_ADD")
            1 / 0
    with stream.begin() as tx:
        tx.add_event("USR_DEL")
        tx.rollback()
    with stream.begin() as tx:
        assert tx.query("SELECT count(*) FROM users") == [(0,)]
    assert everything(stream) == []


def test_a_transaction_that_has_ended_is_closed(stream: fes.EventStream) -> None:
    tx = stream.begin()
    tx.add_event("ONE")
    tx.commit()
    for call in tx.commit, tx.rollback, lambda: tx.add_event("TWO"):
        with pytest.raises(fes.Closed):
            call()
    tx.close()
    tx.close()
    assert [event.type for event in everything(stream)] == ["ONE"]


def test_a_forgotten_transaction_is_rolled_back_with_a_warning_and_its_connection_is_back(db: Db) -> None:
    with db.stream(max_connections=2, connect_timeout_ms=5000, busy_timeout_ms=1000) as stream:
        for _ in range(4):
            with pytest.warns(ResourceWarning, match="transaction was forgotten"):
                stream.begin().add_event("LOST")
                gc.collect()
        stream.add_event("KEPT")
        assert [event.type for event in everything(stream)] == ["KEPT"]


def test_values_of_every_kind_are_bound_and_read(stream: fes.EventStream) -> None:
    binary = "bytea" if stream.kind == "postgres" else "BLOB"
    wide = "BIGINT UNSIGNED" if stream.kind == "mysql" else "NUMERIC" if stream.kind == "postgres" else "BIGINT"
    marks = ", ".join(f"${n}" if stream.kind == "postgres" else "?" for n in range(1, 8))
    # PostgreSQL's NUMERIC takes a text.
    big: Any = 2**64 - 1 if stream.kind == "mysql" else "7" if stream.kind == "postgres" else 2**63 - 1
    row = [None, True, -(2**63), big, 1.25, "ä\n'", b"\0\xff"]
    double = "double precision" if stream.kind != "sqlite" else "REAL"
    with stream.begin() as tx:
        tx.execute(
            f"CREATE TABLE kinds(a BIGINT, b BOOLEAN, c BIGINT, d {wide}, e {double}, f VARCHAR(80), g {binary})"
        )
        tx.execute(f"INSERT INTO kinds VALUES ({marks})", row)
        columns = "a, b, c, d::text, e, f, g" if stream.kind == "postgres" else "*"
        assert tx.query(f"SELECT {columns} FROM kinds") == [tuple(row)]
        nothing = tx.query("SELECT a AS first, a FROM kinds WHERE 1 = 0")
        assert nothing == [] and nothing.columns == ("first", "a")


def test_parameters_that_are_no_values_are_refused(lite: Db) -> None:
    with lite.stream() as stream, stream.begin() as tx:
        for bad in [object()], [2**64], [datetime.now()], "x", ["\ud800"]:
            with pytest.raises(fes.InvalidArgument):
                tx.execute("SELECT ?", bad)  # type: ignore[arg-type]


def test_errors_have_code_name_and_retriable(stream: fes.EventStream) -> None:
    with pytest.raises(fes.InvalidType, match="lower case") as caught:
        stream.add_event("lower case")
    error = caught.value
    assert isinstance(error, fes.Error)
    assert (error.code, error.name, error.retriable, error.sql_state) == (1, "InvalidType", False, "")
    with stream.begin() as tx:
        tx.execute("CREATE TABLE once(n INT PRIMARY KEY)")
        tx.execute("INSERT INTO once VALUES (1)")
    with pytest.raises(fes.Constraint) as broken, stream.begin() as tx:
        tx.execute("INSERT INTO once VALUES (1)")
    assert broken.value.sql_state in ("23505", "1062", "1555")


@pytest.mark.parametrize("bad", [math.nan, math.inf, object(), {1, 2}, {"x": b"bytes"}, fes.Json("{"), fes.Json("")])
def test_data_that_is_not_json_is_refused(lite: Db, bad: object) -> None:
    with lite.stream() as stream:
        for add in stream.add_event, lambda type, data: stream.add_events([(type, data)]), stream.statement:
            with pytest.raises(fes.InvalidData):
                add("BAD", bad)
        assert everything(stream) == []


@pytest.mark.parametrize("bad", ["", "a", "A1", "A" * 17, "A\0B", "Ä", "\ud800"])
def test_types_that_are_none_are_refused(lite: Db, bad: str) -> None:
    with lite.stream() as stream:
        for add in stream.add_event, lambda type: stream.add_events([(type,)]), stream.statement:
            with pytest.raises(fes.InvalidType):
                add(bad)


def test_arguments_that_make_no_sense_are_refused(lite: Db) -> None:
    with pytest.raises(fes.InvalidUrl):
        fes.EventStream("nonsense:x")
    with pytest.raises(fes.InvalidArgument):
        fes.EventStream("sqlite:a\0b")
    with pytest.raises(fes.InvalidOption, match="no_such_option"):
        fes.EventStream(lite.url, no_such_option=1)
    with pytest.raises(fes.InvalidOption):
        fes.EventStream(lite.url, options={"max_connections": "many"})
    with pytest.raises(fes.InvalidOption):
        fes.EventStream(lite.url, max_connections=1.5)
    with lite.stream(options={"max_connections": 3}, allow_polling=False) as stream:
        for bad in ("EVT",), ("A", 1, 2), "EVT":
            if len(bad) != 1:
                with pytest.raises(fes.InvalidArgument):
                    stream.add_events([bad])
        with pytest.raises(TypeError):
            stream.add_event(5)  # type: ignore[arg-type]
        with pytest.raises(fes.InvalidComponent):
            stream.consumer("with space")
        with pytest.raises(fes.InvalidUser):
            stream.consumer("Audit", user="a:b")
        with pytest.raises(fes.IdentTooLong):
            stream.consumer("Audit", user="a" * 60)
        with pytest.raises(fes.SecurityError):
            stream.consumer("LIVE").poll()


def test_a_server_that_is_not_there_is_a_retriable_error_without_the_password() -> None:
    for scheme in "postgres", "mysql":
        with pytest.raises(fes.ConnectFailed) as caught:
            fes.EventStream(f"{scheme}://me:sesame@127.0.0.1:9/db", connect_timeout_ms=300)
        assert caught.value.retriable
        assert "sesame" not in str(caught.value) + repr(caught.value)


def test_tables_that_are_missing_are_told(db: Db) -> None:
    with fes.EventStream(db.url) as stream:
        with pytest.raises(fes.NotMigrated):
            stream.add_event("EVT")
        stream.migrate()
        stream.migrate()
        assert stream.add_event("EVT") > 0


def test_options_name_the_tables(db: Db) -> None:
    with db.stream(event_table="my_events", consumer_table="my_consumers") as stream:
        assert stream.add_event("EVT") == 1
        assert "my_events" in stream.statement("EVT")[0]
    assert "my_events" in fes.statement(db.kind, "EVT", event_table="my_events")[0]
    assert db.number("SELECT count(*) FROM my_events") == 1


def test_a_stream_opens_from_the_environment(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    types = {"sqlite": "sqlite", "postgres": "postgresql", "mysql": "mysql"}
    for prefix in "DB_EVT", "DB_EVTDWH":
        monkeypatch.setenv(f"{prefix}_TYPE", types[db.kind])
        if db.kind == "sqlite":
            monkeypatch.setenv(f"{prefix}_DB", str(db.path))
            continue
        parts = db.parts()
        for name, key in ("HOST", "host"), ("PORT", "port"), ("USER", "user"), ("PASS", "password"), ("DB", "database"):
            monkeypatch.setenv(f"{prefix}_{name}", str(parts[key]))
    with fes.EventStream.from_env(max_connections=2) as stream:
        stream.migrate()
        assert stream.kind == db.kind
        stream.add_event("EVT")
        assert len(everything(stream)) == 1
    with fes.Warehouse.from_env() as warehouse:
        assert warehouse.kind == db.kind
    with fes.ServiceApp.from_env(enable_discarder=True) as app:
        app.migrate()
        assert app.warehouse is not None


def test_lag_tells_how_far_behind_each_consumer_is(stream: fes.EventStream) -> None:
    stream.consumer("Audit").register()
    first, last = stream.add_events([("EVT",), ("EVT",)])
    stream.consumer("Audit").acknowledge(first)
    lag = stream.lag()
    assert (lag["highest_id"], lag["first_unsettled"], lag["blocked"]) == (last, None, None)
    (consumer,) = lag["consumers"]
    assert (consumer["ident"], consumer["last_id"], consumer["events_behind"]) == ("app:Audit", first, 1)


def test_a_closed_stream_says_so_and_so_do_its_consumers(db: Db) -> None:
    stream = db.stream()
    consumer, tx = stream.consumer("Audit"), stream.begin()
    tx.add_event("BEGUN")
    stream.close()
    stream.close()
    assert stream.closed
    for call in stream.lag, stream.begin, consumer.poll, consumer.register, lambda: stream.add_event("EVT"):
        with pytest.raises(fes.Closed):
            call()
    tx.commit()  # it was begun before
    tx.close()
    with db.stream() as stream:
        assert [event.type for event in everything(stream)] == ["BEGUN"]


def test_many_threads_share_one_stream(stream: fes.EventStream) -> None:
    ids: list[int] = []

    def add(thread: int) -> None:
        ids.extend(stream.add_event("EVT", [thread, n]) for n in range(25))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = everything(stream)
    assert sorted(ids) == [event.id for event in events] and len(set(ids)) == 200
    assert sorted(event.data for event in events) == [[t, n] for t in range(8) for n in range(25)]


def test_closing_while_other_threads_work_harms_nobody(stream: fes.EventStream) -> None:
    added: list[int] = []
    errors: list[BaseException] = []
    started = threading.Barrier(5)

    def add() -> None:
        started.wait()
        try:
            while True:
                added.append(stream.add_event("EVT"))
        except fes.Closed as error:
            errors.append(error)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    while len(added) < 20:
        pass
    stream.close()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 4


def test_a_mistyped_path_makes_no_file_where_files_must_exist(lite: Db) -> None:
    for opened in fes.EventStream, fes.Warehouse:
        with pytest.raises(fes.ConnectFailed, match="create is false") as caught:
            opened(lite.url, create=False)
        assert not caught.value.retriable
    assert not lite.path.exists()
    lite.stream().close()
    assert lite.path.stat().st_mode & 0o777 == 0o600
    fes.EventStream(lite.url, create=False).close()
