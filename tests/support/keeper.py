#!/usr/bin/env python3
"""The keeper of the test servers, and the command that makes them fail.

`tests/run` starts a *keeper* (`keeper.py keep NAME...`), which owns every server: it creates and starts them in
one temporary folder, prints their environment as one line of JSON, and ends - all servers dropped, the folder
removed - when its standard input ends, that is when tests/run is done or dies, however it dies. Should the
keeper itself be killed, the kernel takes the servers with it (PR_SET_PDEATHSIG).

A test makes servers fail by `$FES_TEST_CONTROL kill|stop|start NAME`, which is this file too: it asks the
keeper and waits for it. `kill` is SIGKILL to every process of the server, `stop` is a clean shutdown, `start`
returns when the server accepts connections again, at the same port and with the same data.

`make NAME KIND [ARGUMENT...]` makes one more server for the test that needs it, of one of the kinds and with
arguments of its own, and prints its administrator's URL; one that is there already is started if need be. `drop
NAME` ends it and removes what it left.
"""

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

from servers import KINDS, SERVERS, Failure, Server, Setup  # noqa: E402

ACTIONS = ("kill", "stop", "start", "make", "drop")


def make_folder() -> Path:
    """The folder of the run: in memory if there is room, so that the servers' fsync costs nothing.

    FES_TEST_FOLDER names another place for it: benchmarks want a disk."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 4 << 30
    parent = shm if roomy else Path(tempfile.gettempdir())
    parent = Path(os.environ.get("FES_TEST_FOLDER", parent))
    # The path of a Unix socket is limited to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="fes-", dir=parent if len(str(parent)) < 60 else "/tmp"))
    folder.chmod(0o755)
    return folder


def make_certificates(setup: Setup) -> dict[str, str]:
    """A CA with the servers' certificate, for the name localhost and not for 127.0.0.1, and an unrelated CA."""
    tls = setup.folder / "tls"
    tls.mkdir(0o755)
    (tls / "openssl.cnf").write_text(
        "[req]\ndistinguished_name = name\n[name]\n"
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
        "subjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:localhost\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
    )
    new = "openssl req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
    for name, subject, arguments in (
        ("ca", "FES test CA", "-extensions ca"),
        ("wrong-ca", "FES wrong test CA", "-extensions ca"),
        ("server", "localhost", "-extensions server -CA ca.pem -CAkey ca.key"),
    ):
        command = [*new.split(), *arguments.split(), "-subj", f"/CN={subject}", "-keyout", f"{name}.key"]
        done = subprocess.run([*command, "-out", f"{name}.pem"], cwd=tls, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"openssl failed\n{done.stderr}")
        (tls / f"{name}.pem").chmod(0o644)
    setup.give(tls / "server.key", 0o600)
    return {"FES_TEST_TLS_CA": str(tls / "ca.pem"), "FES_TEST_TLS_WRONG_CA": str(tls / "wrong-ca.pem")}


async def keep(names: list[str]) -> None:
    """Runs the servers until the standard input ends."""
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    parent = asyncio.create_task(stdin.read())
    loop.add_signal_handler(signal.SIGTERM, parent.cancel)

    setup = Setup(make_folder())
    servers: dict[str, Server] = {}
    work = asyncio.create_task(serve(setup, servers, names))
    try:
        await asyncio.wait({parent, work}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work  # it only ends by a failure
    finally:
        work.cancel()
        await asyncio.wait({work})
        await asyncio.gather(*(server.end(server.drop, 5) for server in servers.values()), return_exceptions=True)
        shutil.rmtree(setup.folder, ignore_errors=True)


async def serve(setup: Setup, servers: dict[str, Server], names: list[str]) -> None:
    """Starts the servers, says so, and serves the control commands."""
    environment = make_certificates(setup)
    for name in names:
        servers[name] = KINDS[name](name, setup)
        environment |= servers[name].environment()
    async with asyncio.TaskGroup() as group:  # the first failure ends the others
        for server in servers.values():
            group.create_task(server.bring_up())

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        action, name, *arguments = shlex.split((await reader.readline()).decode())
        try:
            answer = "ok" + await act(setup, servers, action, name, arguments)
        except (Failure, OSError) as failure:
            answer = str(failure)
        writer.write(answer.encode())
        writer.close()

    path = setup.folder / "control"
    async with await asyncio.start_unix_server(control, path) as listener:
        path.chmod(0o600)
        environment |= {"FES_TEST_CONTROL": str(Path(__file__).resolve()), "FES_TEST_CONTROL_SOCKET": str(path)}
        print(json.dumps(environment), flush=True)
        await listener.serve_forever()


async def act(setup: Setup, servers: dict[str, Server], action: str, name: str, arguments: list[str]) -> str:
    """Does one control command; returns what it has to say."""
    if action == "make" and name not in servers:
        kind, *more = arguments
        servers[name] = KINDS[kind](name, setup, more)
    if name not in servers:
        raise Failure(f"{name} is not a server of this run")
    server = servers[name]
    async with server.lock:
        match action:
            case "make":
                await server.bring_up()
                return f" {server.url()}"
            case "drop":
                await server.end(server.drop, 5)
                shutil.rmtree(server.home, ignore_errors=True)
                servers.pop(name, None)
            case _:
                await getattr(server, action)()
    return ""


# What tests/run does with it.


class Keeper:
    """The keeper as tests/run sees it."""

    def __init__(self, names: list[str]):
        # In a session of its own: a Ctrl-C is for tests/run, which then lets go of the keeper.
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, "keep", *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.folder: Path | None = None

    def environment(self) -> dict[str, str] | None:
        """The servers' environment once they are up; None if they failed to start (the keeper says why)."""
        line = self.process.stdout.readline()
        if not line:
            return None
        environment = json.loads(line)
        self.folder = Path(environment["FES_TEST_CONTROL_SOCKET"]).parent
        return environment

    def close(self) -> None:
        """Lets go of the keeper, and returns when it has cleaned up."""
        self.process.stdin.close()
        self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)  # only there if the keeper was killed


# The command.


def ask(command: list[str]) -> str:
    """Has the keeper do something to a server; returns its answer, which begins with ok."""
    path = os.environ.get("FES_TEST_CONTROL_SOCKET")
    if not path:
        return "FES_TEST_CONTROL_SOCKET is not set: tests/run did not start these servers"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(f"{shlex.join(command)}\n".encode())
            return connection.makefile().read()
    except OSError as error:
        return f"{path}: {error.strerror}"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["keep", *names]:
            try:
                asyncio.run(keep(names))
                return 0
            except* Failure as failures:
                print(*failures.exceptions, sep="\n", file=sys.stderr)
            return 1
        case ["make", name, kind, *_] if kind in KINDS:
            pass
        case [action, name] if action in ACTIONS and action != "make":
            pass
        case _:
            usage = "|".join(action for action in ACTIONS if action != "make")
            print(f"usage: keeper.py {usage} NAME, or make NAME {'|'.join(KINDS)} ARG...", file=sys.stderr)
            return 2
    answer = ask(arguments)
    good, _, said = answer.partition(" ")
    if good != "ok":
        print(f"{shlex.join(arguments)}: {answer or 'the servers are gone'}", file=sys.stderr)
        return 1
    if said:
        print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
