"""The sdist carries all that the wheel is built of, and the wheel all that an installation needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1]
LIBRARY = os.environ.get("FES_BUILD_LIBRARY") or os.environ.get("FES_LIBRARY")


def run(*command: str | Path, folder: Path, **env: str) -> str:
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | env, timeout=120)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and the wheel that is built of it."""
    assert LIBRARY, "FES_BUILD_LIBRARY names the library of this run: run the tests with tests/run"
    dist = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, FOLDER)
    run(*command, folder=dist, FES_LIBRARY=LIBRARY)
    return dist


def test_the_wheel_holds_the_library_and_the_types_and_fits_any_python_3(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.startswith("futoin_eventstream-0.1.0-py3-none-linux_")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        package = "futoin_eventstream/"
        assert {package + name for name in ("__init__.py", "py.typed", "libfutoin_eventstream.so")} <= names
        library = archive.read(package + "libfutoin_eventstream.so")
    assert library.startswith(b"\x7fELF") and b".dynsym" in library
    assert b".symtab" not in library  # it is stripped
    assert all(name.startswith((package, "futoin_eventstream-0.1.0.dist-info/")) for name in names)


def test_the_sdist_holds_the_rust_sources(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert (folder / "rust/src/ffi/mod.rs").exists() and (folder / "README.md").exists()
    manifest = folder / "rust/Cargo.toml"
    run(
        "cargo",
        "metadata",
        "--locked",
        "--no-deps",
        f"--manifest-path={manifest}",
        "--format-version=1",
        folder=tmp_path,
    )
    assert not list(folder.rglob("*.so")) and not list(folder.rglob("__pycache__"))


def test_an_installation_works_without_the_repository(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    (wheel,) = dist.glob("*.whl")
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", site, wheel)
    run(*pip, folder=tmp_path)
    code = (
        "import futoin_eventstream as fes\n"
        "with fes.EventStream('sqlite::memory:') as stream:\n"
        "    stream.migrate()\n"
        "    print(fes.__version__, stream.add_event('EVT'))\n"
    )
    env = {name: "" for name in ("FES_LIBRARY", "PYTHONPATH")}
    assert run(python, "-c", code, folder=tmp_path, **env) == "0.1.0 1\n"
