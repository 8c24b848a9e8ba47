"""The examples print what those of the other languages print, and the README's code works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Db, on

ROOT = Path(__file__).resolve().parents[3]
STORIES = sorted(path.stem for path in (ROOT / "examples/expected").glob("*.txt"))


def run(*command: str, folder: Path | None = None) -> str:
    program = [sys.executable, "-X", "dev", "-W", "error", *command]
    process = subprocess.run(program, capture_output=True, text=True, timeout=60, cwd=folder)
    assert process.returncode == 0 and not process.stderr, process.stdout + process.stderr
    return process.stdout


def test_there_is_an_example_for_every_story() -> None:
    assert sorted(path.stem for path in (ROOT / "examples/python").glob("*.py")) == STORIES and len(STORIES) == 7


@on("sqlite", "postgres", "mariadb")
@pytest.mark.parametrize("story", STORIES)
def test_an_example_prints_what_it_should(db: Db, story: str, tmp_path: Path) -> None:
    warehouse = f"sqlite:{tmp_path}/warehouse.db"
    expected = (ROOT / f"examples/expected/{story}.txt").read_text()
    assert run(str(ROOT / f"examples/python/{story}.py"), db.url, warehouse) == expected


def test_the_code_of_the_readme_works_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "bindings/python/README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 9
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks))
    out = run(str(program), folder=tmp_path)
    lines = out.splitlines()
    assert lines[0].startswith("1 USR_ADD {'name': 'Ann'} ")
    assert "6 {'name': 'Eve'}" in lines and "archived 6" in lines and lines[-1] == "discarded 5"
