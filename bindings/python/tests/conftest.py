"""What the tests share: databases of their own on every server that is there."""

from __future__ import annotations

import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest

import futoin_eventstream as fes

#: The servers of a full run, by the name in their FES_TEST_<NAME>_URL; SQLite needs none.
SERVERS = ["sqlite", "postgres", "postgres18", "mariadb", "mysql"]
KINDS = {"sqlite": "sqlite", "postgres": "postgres", "postgres18": "postgres", "mariadb": "mysql", "mysql": "mysql"}

_count = itertools.count()


class Db:
    """A new database of a test's own."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server, self.kind = server, KINDS[server]
        self.name = f"fes_py_{os.getpid()}_{next(_count)}"
        if self.kind == "sqlite":
            self.path = folder / f"{self.name}.db"
            self.url = f"sqlite://{self.path}"
            return
        variable = f"FES_TEST_{server.upper()}_URL"
        if variable not in os.environ:
            if "FES_TEST_REQUIRED" in os.environ:
                pytest.fail(f"{variable} is not set: run the tests with tests/run")
            pytest.skip(f"{variable} is not set: tests/run sets it")
        self._admin = os.environ[variable]
        self.url = self._admin.rpartition("/")[0] + "/" + self.name
        self._administrate(f"CREATE DATABASE {self.name}")

    def _administrate(self, sql: str) -> None:
        connection = self.connect(self._admin)
        connection.autocommit(True) if self.kind == "mysql" else setattr(connection, "autocommit", True)
        connection.cursor().execute(sql)
        connection.close()

    def drop(self) -> None:
        if self.kind != "sqlite":
            self._administrate(f"DROP DATABASE {self.name}" + (" WITH (FORCE)" if self.kind == "postgres" else ""))

    def parts(self, url: str | None = None) -> dict[str, Any]:
        """Where it is, for a driver that takes no URL."""
        parts = urlsplit(url or self.url)
        return {
            "host": parts.hostname,
            "port": parts.port,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": parts.path[1:],
        }

    def connect(self, url: str | None = None) -> Any:
        """A connection of a raw driver, as an application has it."""
        if self.kind == "sqlite":
            return sqlite3.connect(self.path, timeout=20, isolation_level=None, check_same_thread=False)
        if self.kind == "postgres":
            return psycopg.connect(url or self.url)
        return pymysql.connect(**self.parts(url))

    def stream(self, **options: Any) -> fes.EventStream:
        """The stream of this database, with its tables made."""
        stream = fes.EventStream(self.url, **options)
        stream.migrate()
        return stream

    def number(self, sql: str) -> int:
        """The only number that a query gives; not on SQLite while a stream is open."""
        connection = self.connect()
        cursor = connection.cursor()
        cursor.execute(sql)
        (number,) = cursor.fetchone()
        connection.close()
        return int(number)


def on(*servers: str) -> pytest.MarkDecorator:
    """Runs a test on these servers only."""
    return pytest.mark.parametrize("db", servers, indirect=True)


@pytest.fixture(params=SERVERS)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Db]:
    db = Db(request.param, tmp_path)
    yield db
    db.drop()


@pytest.fixture
def stream(db: Db) -> Iterator[fes.EventStream]:
    """A stream on each server, with its tables made."""
    with db.stream() as stream:
        yield stream


@pytest.fixture
def lite(tmp_path: Path) -> Db:
    """A SQLite database, for what is the same on every server."""
    return Db("sqlite", tmp_path)


def everything(stream: fes.EventStream) -> list[fes.Event]:
    """All events, in order, as a LIVE consumer gets them."""
    live = stream.live("everything")
    found: list[fes.Event] = []
    while more := live.poll(found[-1].id if found else 0):
        found += more
    return found
