"""The statement in the caller's own transactions: every driver, SQLAlchemy, Django."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import MySQLdb
import psycopg
import psycopg2
import pymysql
import pytest
import sqlalchemy
import sqlalchemy.orm
from conftest import Db, everything, on
from sqlalchemy.engine import URL

import futoin_eventstream as fes

STYLES = ["qmark", "numeric", "numeric_dollar", "named", "format", "pyformat"]
DATA = {"name": "100 % 'x' ? :a $1 %s ä😀", "n": 1.5}


def types_of(db: Db) -> list[str]:
    """The stream is opened only now: Python's SQLite is done with the file."""
    with fes.EventStream(db.url) as stream:
        events = everything(stream)
        assert all(event.data == DATA for event in events)
        return [event.type for event in events]


def prepared(db: Db) -> Db:
    db.stream().close()
    return db


def connect(db: Db, driver: Any) -> Any:
    if db.kind == "sqlite":
        return sqlite3.connect(db.path)
    if driver in (psycopg, psycopg2):
        return driver.connect(db.url)
    return driver.connect(**db.parts(), charset="utf8mb4")


DRIVERS = {"sqlite": [sqlite3], "postgres": [psycopg, psycopg2], "mysql": [pymysql, MySQLdb]}


def test_the_statement_lives_and_dies_with_the_transaction_of_each_driver(db: Db) -> None:
    prepared(db)
    expected = []
    for driver in DRIVERS[db.kind]:
        with closing(connect(db, driver)) as connection:
            cursor = connection.cursor()
            for style in driver, None:
                cursor.execute(*fes.statement(db.kind, "ROLLED_BACK", DATA, paramstyle=style))
                connection.rollback()
                cursor.execute(*fes.statement(db.kind, "COMMITTED", DATA, paramstyle=style))
                connection.commit()
                expected.append("COMMITTED")
    assert types_of(db) == expected


@on("postgres", "postgres18", "mariadb", "mysql")  # not SQLite: that is the trap, see test_process.py
def test_a_streams_own_statement_works_on_a_connection_beside_it(db: Db) -> None:
    with db.stream() as stream:
        audit = stream.consumer("Audit")
        audit.register()
        for driver in DRIVERS[db.kind]:
            with closing(connect(db, driver)) as connection:
                connection.cursor().execute(*stream.statement("COMMITTED", DATA))
                assert audit.poll() == []
                connection.commit()
                (event,) = audit.poll()
                assert (event.type, event.data) == ("COMMITTED", DATA)
                audit.acknowledge(event.id)


@on("postgres", "postgres18")
def test_psycopg_takes_it_prepared_and_with_texts_that_are_typed(db: Db) -> None:
    prepared(db)
    with psycopg.connect(db.url) as connection:
        for _ in range(7):
            connection.execute(*fes.statement("postgres", "PREPARED", DATA), prepare=True)
        connection.adapters.register_dumper(str, psycopg.types.string.StrDumperVarchar)
        sql, params = fes.statement("postgres", "TYPED", DATA)
        connection.execute(sql.replace("VALUES (%s", "VALUES (CAST(%s AS varchar)"), params)
    assert types_of(db) == ["PREPARED"] * 7 + ["TYPED"]


@on("mariadb", "mysql")
def test_the_statement_does_not_depend_on_the_character_set_of_the_session(db: Db) -> None:
    prepared(db)
    for driver in DRIVERS[db.kind]:
        with closing(driver.connect(**db.parts(), charset="latin1")) as connection:
            connection.cursor().execute(*fes.statement(db.kind, "LATIN", DATA, paramstyle=driver))
            connection.commit()
    assert types_of(db) == ["LATIN"] * 2


def test_every_style_marks_its_parameters() -> None:
    marks = {
        "qmark": ("?", "?"),
        "numeric": (":1", ":2"),
        "numeric_dollar": ("$1", "$2"),
        "named": (":event_type", ":event_data"),
        "format": ("%s", "%s"),
        "pyformat": ("%(event_type)s", "%(event_data)s"),
    }
    for kind in "sqlite", "postgres", "postgresql", "mysql", "mariadb":
        for style in STYLES:
            sql, params = fes.statement(kind, "EVT", {"a": 1}, paramstyle=style)
            first, second = marks[style]
            if kind.startswith("postgres"):
                second = f"CAST(CAST({second} AS text) AS json)"
            assert f"VALUES ({first}, {second}, " in sql, sql
            values = tuple(params.values()) if isinstance(params, dict) else params
            assert values == ("EVT", '{"a":1}')
            assert isinstance(params, dict) == (style in ("named", "pyformat"))
    for bad in (("oracle", None), ("sqlite", "colon")):
        with pytest.raises(fes.InvalidArgument):
            fes.statement(bad[0], "EVT", paramstyle=bad[1])
    with pytest.raises(fes.TooLarge):
        fes.statement("sqlite", "EVT", "x" * 100, max_event_bytes=50)


def test_sqlite3_takes_every_style_that_it_knows(lite: Db) -> None:
    prepared(lite)
    with closing(sqlite3.connect(lite.path)) as connection:
        for style in "qmark", "named":
            connection.execute(*fes.statement("sqlite", "EVT", DATA, style))
        connection.commit()
    assert types_of(lite) == ["EVT", "EVT"]


SQLALCHEMY = {
    "sqlite": ["sqlite"],
    "postgres": ["postgresql+psycopg", "postgresql+psycopg2"],
    "mysql": ["mysql+pymysql", "mysql+mysqldb"],
}


def test_the_statement_lives_and_dies_with_a_sqlalchemy_transaction(db: Db) -> None:
    prepared(db)
    expected = []
    for dialect in SQLALCHEMY[db.kind]:
        if db.kind == "sqlite":
            url = URL.create(dialect, database=str(db.path))
        else:
            parts = db.parts()
            url = URL.create(dialect, username=parts.pop("user"), **parts)
        engine = sqlalchemy.create_engine(url)
        style = engine.dialect.paramstyle
        with engine.begin() as connection:
            connection.exec_driver_sql(*fes.statement(db.kind, "CORE", DATA, style))
            sql, params = fes.statement(db.kind, "CORE_TEXT", DATA, "named")
            connection.execute(sqlalchemy.text(sql), params)
        with sqlalchemy.orm.Session(engine) as session:
            session.connection().exec_driver_sql(*fes.statement(db.kind, "LOST", DATA, style))
            session.rollback()
            session.connection().exec_driver_sql(*fes.statement(db.kind, "ORM", DATA, style))
            session.commit()
        engine.dispose()
        expected += ["CORE", "CORE_TEXT", "ORM"]
    assert types_of(db) == expected


DJANGO = """
import json, sys
import django
from django.conf import settings
from django.db import connection, transaction
import futoin_eventstream as fes

database, kind, data = json.loads(sys.argv[1])
settings.configure(DATABASES={"default": database})
django.setup()
with transaction.atomic():
    with connection.cursor() as cursor:
        cursor.execute(*fes.statement(kind, "COMMITTED", data, paramstyle="format"))
try:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(*fes.statement(kind, "ROLLED_BACK", data, paramstyle="format"))
        raise KeyError
except KeyError:
    pass
connection.close()
"""


@on("sqlite", "postgres", "postgres18")
def test_the_statement_lives_and_dies_with_a_django_transaction(db: Db) -> None:
    prepared(db)
    database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(getattr(db, "path", ""))}
    if db.kind == "postgres":
        parts = db.parts()
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": parts.pop("database")}
        database |= {name.upper(): value for name, value in parts.items()}
    argument = json.dumps([database, db.kind, DATA])
    subprocess.run([sys.executable, "-c", DJANGO, argument], check=True, timeout=60)
    assert types_of(db) == ["COMMITTED"]
