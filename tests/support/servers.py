"""The throwaway database servers of the tests: PostgreSQL 15 and 18, MariaDB, MySQL."""

import asyncio
import contextlib
import ctypes
import os
import pwd
import random
import secrets
import signal
import socket
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import install

ADMIN = "fes_admin"
QUICKSTART = "quickstart"  # an empty database of this name is made on every server
START_SECONDS = 60
STOP_SECONDS = 30
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """Something went wrong that a message explains."""


@dataclass
class Setup:
    """What all servers of a run have in common."""

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    # Servers refuse to run as root: they are then started as nobody.
    user: pwd.struct_passwd | None = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def identity(self) -> dict:
        """The arguments that start a process as the servers' user."""
        user = self.user
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}

    def give(self, path: Path, mode: int) -> Path:
        """Makes the servers' user the owner of the path."""
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        path.chmod(mode)
        return path

    def write(self, path: Path, text: str) -> Path:
        """A file that only the servers' user can read."""
        path.touch(0o600)
        path.write_text(text)
        return self.give(path, 0o600)


class Server:
    """One server: its folder, its port, its process. The subclasses know the programs."""

    scheme: str
    database: str  # the administrator's database in the URL
    clean: signal.Signals  # shuts down cleanly, without waiting for clients
    drop: signal.Signals  # ends it at once; the data are of no interest any more

    def __init__(self, name: str, setup: Setup, more: list[str] | None = None):
        self.name = name
        self.setup = setup
        self.more = more or []  # arguments of its own
        self.home = setup.folder / name
        self.home.mkdir()
        setup.give(self.home, 0o755)
        self.data = self.home / "data"
        self.log = self.home / "log"
        self.port = free_port()
        self.process: asyncio.subprocess.Process | None = None
        self.lock = asyncio.Lock()  # one control command at a time

    # What the subclasses say.

    def socket(self) -> Path:
        """What a client gives as the place of the Unix socket."""
        raise NotImplementedError

    async def create(self) -> None:
        """Makes the data folder, the administrator and the database of the quick start."""
        raise NotImplementedError

    def command(self) -> list:
        """The command that runs the server in the foreground."""
        raise NotImplementedError

    async def greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether a new connection is welcome."""
        raise NotImplementedError

    # What they have in common.

    def url(self) -> str:
        """The administrator's URL."""
        return f"{self.scheme}://{ADMIN}:{self.setup.password}@127.0.0.1:{self.port}/{self.database}"

    def environment(self) -> dict[str, str]:
        prefix = f"FES_TEST_{self.name.upper()}"
        return {f"{prefix}_URL": self.url(), f"{prefix}_SOCKET": str(self.socket())}

    async def bring_up(self) -> None:
        """Makes it, unless it was made before, and starts it."""
        if not self.data.exists():
            await self.create()
        await self.start()

    async def spawn(self, command: list, stdin: int = subprocess.DEVNULL) -> asyncio.subprocess.Process:
        """Starts a program as the servers' user; it dies with this process."""
        with open(self.log, "ab") as log:
            return await asyncio.create_subprocess_exec(
                *map(str, command),
                cwd=self.home,
                # Temporary files in /tmp would be shared: MariaDB deletes what it takes for its own leftovers.
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "LC_ALL": "C.UTF-8",
                    "HOME": str(self.home),
                    "TMPDIR": str(self.home),
                },
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, self.drop),
                **self.setup.identity(),
            )

    async def run(self, *command, stdin: str | None = None) -> None:
        """Runs a program of the creation to its end."""
        process = await self.spawn(list(command), subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        try:
            await process.communicate(None if stdin is None else stdin.encode())
        finally:
            if process.returncode is None:  # cancelled; a killed PostgreSQL would leave shared memory behind
                process.terminate()
                await asyncio.wait({asyncio.create_task(process.wait())}, timeout=5)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            raise Failure(f"{self.name}: {Path(command[0]).name} failed\n{self.log_tail()}")

    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        if self.running():
            return
        self.process = await self.spawn(self.command())
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.accepts():
                    if not self.running():
                        raise Failure(f"{self.name} ended while it was starting\n{self.log_tail()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Failure(f"{self.name} accepts no connection after {START_SECONDS} s\n{self.log_tail()}") from None

    async def accepts(self) -> bool:
        """Whether the server accepts connections."""
        writer = None
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                return await self.greeted(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return False
        finally:
            if writer:
                writer.close()

    async def stop(self) -> None:
        """A clean shutdown."""
        await self.end(self.clean, STOP_SECONDS)

    async def kill(self) -> None:
        """SIGKILL to every process of the server, as in a crash of its machine."""
        if not self.running():
            return
        self.process.send_signal(signal.SIGSTOP)  # no new children
        children = children_of(self.process.pid)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.kill()
        await self.process.wait()
        while any(map(alive, children)):
            await asyncio.sleep(0.01)

    async def end(self, number: signal.Signals, seconds: float) -> None:
        """Ends the server by the signal, or by SIGKILL if that takes too long."""
        if not self.running():
            return
        self.process.send_signal(number)
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            await self.kill()
            raise Failure(f"{self.name} did not stop within {seconds} s, and was killed") from None

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join("    " + line for line in lines[-60:])


class Postgres(Server):
    scheme = "postgres"
    database = "postgres"
    clean = signal.SIGINT  # fast shutdown
    drop = signal.SIGQUIT  # immediate shutdown: the postmaster takes its children with it

    def __init__(self, name: str, setup: Setup, programs: Path, more: list[str] | None = None):
        super().__init__(name, setup, more)
        self.programs = programs

    def socket(self) -> Path:
        return self.home

    async def create(self) -> None:
        password = self.setup.write(self.home / "password", self.setup.password)
        await self.run(
            self.programs / "initdb", "--pgdata", self.data, "--username", ADMIN, "--pwfile", password,
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
        )  # fmt: skip
        password.unlink()
        single = [self.programs / "postgres", "--single", "-D", self.data, "postgres"]
        await self.run(*single, stdin=f"CREATE DATABASE {QUICKSTART}\n")

    def command(self) -> list:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.home,
            "dynamic_shared_memory_type": "mmap",  # files in the data folder, not in /dev/shm
            "max_connections": 200,
            "max_prepared_transactions": 20,
            "ssl": "on",
            "ssl_cert_file": self.setup.folder / "tls/server.pem",
            "ssl_key_file": self.setup.folder / "tls/server.key",
        }
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        return [self.programs / "postgres", "-D", self.data, *arguments, *self.more]

    async def greeted(self, reader, writer) -> bool:
        # A startup message of protocol 3.0; the answer is R (authenticate) or E (not yet).
        body = struct.pack("!I", 3 << 16) + f"user\0{ADMIN}\0database\0postgres\0\0".encode()
        writer.write(struct.pack("!I", len(body) + 4) + body)
        return await reader.readexactly(1) == b"R"


class PostgresStandby(Postgres):
    """A standby of the PostgreSQL server whose URL is its first argument; `SELECT pg_promote()` promotes it."""

    async def create(self) -> None:
        primary, *self.more = self.more
        await self.run(
            self.programs / "pg_basebackup", "-D", self.data, "-d", primary, "-R", "-X", "stream",
            "--checkpoint=fast", "--no-sync",
        )  # fmt: skip


class PgBouncer(Server):
    """A pooler before the PostgreSQL server whose URL is its first argument; the others are its settings.

    It knows the administrator only, and logs in at the server as that one, for whatever database is asked."""

    scheme = "postgres"
    database = "postgres"
    clean = signal.SIGINT
    drop = signal.SIGKILL

    def socket(self) -> Path:
        return self.home

    async def create(self) -> None:
        self.data.mkdir()
        self.setup.give(self.data, 0o700)
        server, *more = self.more
        port = server.rpartition(":")[2].split("/")[0]
        self.setup.write(self.data / "users", f'"{ADMIN}" "{self.setup.password}"\n')
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.home,
            "auth_type": "plain", "auth_file": self.data / "users", "max_client_conn": 500,
            "default_pool_size": 50, "server_tls_sslmode": "disable",
        }  # fmt: skip
        lines = [f"{name} = {value}" for name, value in settings.items()] + more
        databases = f"[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\n"
        self.setup.write(self.data / "pgbouncer.ini", databases + "\n".join(lines) + "\n")

    def command(self) -> list:
        return [install.program("pgbouncer"), self.data / "pgbouncer.ini"]

    async def greeted(self, reader, writer) -> bool:
        return await Postgres.greeted(self, reader, writer)


class MySql(Server):
    """MySQL, and what MariaDB has in common with it."""

    scheme = "mysql"
    database = "mysql"
    clean = signal.SIGTERM
    drop = signal.SIGKILL

    program = install.SID / "usr/sbin/mysqld"
    base = install.SID / "usr"
    settings = ["--loose-mysqlx=OFF"]

    def socket(self) -> Path:
        return self.home / "socket"

    def init_file(self) -> Path:
        """The statements that the first start executes."""
        return self.home / "init.sql"

    async def create(self) -> None:
        await self.create_data()
        self.setup.write(
            self.init_file(),
            f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{self.setup.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
            f"CREATE DATABASE {QUICKSTART};\n"
            "ALTER USER 'root'@'localhost' ACCOUNT LOCK;\n",  # it has no password
        )

    async def create_data(self) -> None:
        await self.run(
            self.program, "--no-defaults", "--initialize-insecure", f"--basedir={self.base}",
            f"--datadir={self.data}",
        )  # fmt: skip

    def command(self) -> list:
        tls = self.setup.folder / "tls"
        first = [f"--init-file={self.init_file()}"] if self.init_file().exists() else []
        return [
            self.program,
            "--no-defaults",
            f"--basedir={self.base}",
            f"--datadir={self.data}",
            f"--socket={self.socket()}",
            f"--pid-file={self.home / 'pid'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--max-connections=300",
            "--max-allowed-packet=64M",
            "--secure-file-priv=",
            f"--ssl-ca={tls / 'ca.pem'}",
            f"--ssl-cert={tls / 'server.pem'}",
            f"--ssl-key={tls / 'server.key'}",
            *self.settings,
            *self.more,
            *first,
        ]

    async def start(self) -> None:
        await super().start()
        self.init_file().unlink(missing_ok=True)

    async def greeted(self, reader, writer) -> bool:
        # The server speaks first: the header of a packet, and the version of the protocol.
        return (await reader.readexactly(5))[4] == 10


class MariaDb(MySql):
    program = install.program("mariadbd")
    base = Path("/usr")
    settings = ["--plugin-load-add=metadata_lock_info"]

    async def create_data(self) -> None:
        await self.run(
            install.program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
        )  # fmt: skip


# How to make one of each kind: by its name, the setup, and arguments of its own.
KINDS = {
    "postgres": lambda name, setup, more=None: Postgres(name, setup, install.postgres_bin(), more),
    "postgres18": lambda name, setup, more=None: Postgres(
        name, setup, install.SID / "usr/lib/postgresql/18/bin", more
    ),
    "postgres-standby": lambda name, setup, more=None: PostgresStandby(name, setup, install.postgres_bin(), more),
    "pgbouncer": PgBouncer,
    "mariadb": MariaDb,
    "mysql": MySql,
}

# Those that every run starts, each named as its kind.
SERVERS = ("postgres", "postgres18", "mariadb", "mysql")


def free_port() -> int:
    """A free loopback port, below those that the kernel gives to outgoing connections: a server that is
    started again must find its port free."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def process_status(pid: int) -> tuple[str, int] | None:
    """The state and the parent of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    except OSError:
        return None


def alive(pid: int) -> bool:
    status = process_status(pid)
    return status is not None and status[0] not in "ZX"


def children_of(parent: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (status := process_status(pid)) and status[1] == parent]
