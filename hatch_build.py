"""Build hook of hatchling: SIGNPOST_MYPYC=1 builds a wheel with compiled modules, otherwise it is pure Python.

mypyc compiles the hot modules listed in pyproject.toml as one group: only calls within a group are C calls. It compiles
a copy of the sources. Compiled modules in the source tree would hide later edits of the Python modules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE: Final = "SIGNPOST_MYPYC"
_OUTPUT_SHOWN: Final = 4_000


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles the hot modules of a wheel. MYPYC_OPT_LEVEL: optimisation level of the C compiler, 0 to 3 (default)."""

    _copy: TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """Return the packages of an isolated build: mypyc, and the dependencies whose types mypy reads."""
        return [*self.metadata.core.dependencies, "mypy>=2.4", "setuptools>=80"] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules and add them to the wheel."""
        if version == "editable" or not _is_wanted():
            return
        if reason := missing_tools():
            self.app.abort(f"{VARIABLE}: cannot compile: {reason}")
        modules = self._modules()
        self.app.display_waiting(f"mypyc compiles {len(modules)} modules; this takes one to three minutes")
        self._copy = TemporaryDirectory(prefix="signpost-mypyc-")
        for module in self._compile(Path(self._copy.name), modules):
            build_data["force_include"][str(module)] = str(module.relative_to(self._copy.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy."""
        if self._copy is not None:
            self._copy.cleanup()

    def _modules(self) -> list[str]:
        return sorted(self._matches("compiled") - self._matches("interpreted"))

    def _matches(self, key: str) -> set[str]:
        found: set[str] = set()
        for pattern in self.config[key]:
            paths = [path.relative_to(self.root).as_posix() for path in Path(self.root).glob(pattern)]
            if not paths:
                self.app.abort(f"pyproject.toml, hooks.custom, {key}: there is no module {pattern}; was it moved?")
            found.update(paths)
        return found

    def _compile(self, folder: Path, modules: list[str]) -> list[Path]:
        for package in self.build_config.packages:
            shutil.copytree(Path(self.root, package), folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        # mypyc uses the mypy settings of `make check`. The listed modules replace the packages of these settings.
        command = [sys.executable, "-m", "mypyc", "--config-file", str(Path(self.root, "pyproject.toml")), *modules]
        env = {"MYPYC_OPT_LEVEL": "3", **os.environ, "MYPYC_DEBUG_LEVEL": "0", "PYTHONSAFEPATH": "1"}
        completed = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, errors="replace", check=False
        )
        if completed.returncode:
            self.app.abort(f"mypyc: {(completed.stdout + completed.stderr)[-_OUTPUT_SHOWN:]}")
        shutil.rmtree(folder / "build")
        return sorted(folder.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"))


def missing_tools() -> str | None:
    """Return what this machine lacks to compile, None if nothing."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(command) is None:
        return f"there is no C compiler ({command})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's headers are not installed (on Debian and Ubuntu: python3-dev)"
    absent = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    return f"{' and '.join(absent)} of requirements/dev.txt is not installed" if absent else None


def _is_wanted() -> bool:
    return os.environ.get(VARIABLE, "0") not in {"", "0"}
