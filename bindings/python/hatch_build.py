"""Builds the shared library with cargo, and puts it into the wheel; puts its sources into the sdist.

FES_LIBRARY names a library that is built already, to be used in place of what cargo would build.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What of the repository the sdist carries: all that `cargo build` needs.
SOURCES = ["Cargo.toml", "Cargo.lock", "build.rs", "LICENSE", "README.md"]
SOURCES += ["benches/**/*.rs", "docs/*.md", "include/*", "src/**/*.rs", "src/**/*.sql"]
FILE_NAME = "libfutoin_eventstream.dylib" if sys.platform == "darwin" else "libfutoin_eventstream.so"


class BuildHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "sdist":
            rust = self.rust()
            files = [path for pattern in SOURCES for path in rust.glob(pattern)]
            build_data["force_include"].update({str(path): f"rust/{path.relative_to(rust)}" for path in files})
        elif version != "editable":  # an editable installation needs FES_LIBRARY when it runs
            build_data["force_include"][str(self.library())] = f"futoin_eventstream/{FILE_NAME}"
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"

    def rust(self) -> Path:
        """The Rust sources: in an sdist beside this file, else of the repository."""
        for folder in Path(self.root) / "rust", Path(self.root).parents[1]:
            if (folder / "Cargo.toml").exists():
                return folder
        raise FileNotFoundError("the Rust sources of futoin-eventstream are missing")

    def library(self) -> Path:
        """The library without its symbols, as far as `strip` is there."""
        given = os.environ.get("FES_LIBRARY")
        built = Path(given) if given else self.cargo()
        folder = Path(tempfile.mkdtemp(prefix="futoin_eventstream"))
        self.folders = [*getattr(self, "folders", []), folder]
        stripped = folder / FILE_NAME
        shutil.copy(built, stripped)
        if (strip := shutil.which("strip")) and sys.platform != "darwin":
            subprocess.run([strip, "--strip-unneeded", stripped], check=True)
        return stripped

    def cargo(self) -> Path:
        rust = self.rust()
        command = "cargo rustc --profile dist --locked --lib --features capi --crate-type cdylib"
        subprocess.run(command.split(), cwd=rust, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", rust / "target"))
        return target / "dist" / FILE_NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        for folder in getattr(self, "folders", []):
            shutil.rmtree(folder, ignore_errors=True)
