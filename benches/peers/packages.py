"""Installs the peers into target/peers, at the versions that are pinned beside this file, and builds our side."""

import shutil
import subprocess
import sys
from pathlib import Path

import install

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target/peers"
PGQ = "postgresql-15-pgq3=3.5-1*"
PGQ_CONTROL = Path("/usr/share/postgresql/15/extension/pgq.control")


class Failure(Exception):
    """Something went wrong that a message explains."""


def run(command: list, **options) -> None:
    print("==", *map(str, command[:6]), flush=True)
    if subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, **options).returncode != 0:
        raise Failure(f"{command[0]} failed")


def servers(names: list[str], pgq: bool) -> None:
    """The servers that tests/run uses too, and PgQ."""
    command = install.command(names, [PGQ] if pgq and not PGQ_CONTROL.exists() else [])
    if command:
        print("== installing what the servers need", flush=True)
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
            raise Failure("the installation of the servers failed")


def rust() -> Path:
    """Our side, and that of PgQ."""
    run(["cargo", "build", "--release", "--example", "peers"], cwd=ROOT)
    return ROOT / "target/release/examples/peers"


def node() -> Path:
    """The packages of npm, with copies of our scripts, which find them there."""
    folder = TARGET / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "node").glob("*.js*"):
        shutil.copy(path, folder)
    # sqlite3 is compiled, which takes a minute: only where something has changed.
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    state = version + (folder / "package-lock.json").read_text()
    stamp = folder / "node_modules/.installed"
    if not stamp.exists() or stamp.read_text() != state:
        run(["npm", "run", "setup"], cwd=folder)
        stamp.write_text(state)
    return folder


def python() -> Path:
    """The interpreter of a virtual environment with the packages."""
    folder, wanted = TARGET / "python", HERE / "python/requirements.txt"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([folder / "bin/pip", "install", "--quiet", "--no-deps", "-r", wanted])
        shutil.copy(wanted, stamp)
    return folder / "bin/python"
