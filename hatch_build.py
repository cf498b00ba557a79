"""Build hook of hatchling: with SIGNPOST_MYPYC=1 the wheel holds compiled modules, without it the wheel is pure Python.

mypyc compiles the hot modules that pyproject.toml lists, in a copy of the sources, as one group: a call between two
classes costs what it costs in C only within one group. The compiled modules go into the wheel and never into the source
tree, where Python would prefer them to a module that was edited later.
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
    """Compiles the hot modules of a wheel. MYPYC_OPT_LEVEL is the C compiler's optimisation, 0 to 3 (default)."""

    _copy: TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """Return what an isolated build installs: mypyc, and what mypy reads the types of."""
        return [*self.metadata.core.dependencies, "mypy>=2.4", "setuptools>=80"] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules and put them into the wheel."""
        if version == "editable" or not _is_wanted():
            return
        if reason := lacking():
            self.app.abort(f"{VARIABLE}: no module can be compiled: {reason}")
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
        compiled, interpreted = (self._matches(key) for key in ("compiled", "interpreted"))
        return sorted(compiled - interpreted)

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
        # mypy's settings are those of the checks; the packages that these name give way to the modules named here.
        command = [sys.executable, "-m", "mypyc", "--config-file", str(Path(self.root, "pyproject.toml")), *modules]
        env = {"MYPYC_OPT_LEVEL": "3", **os.environ, "MYPYC_DEBUG_LEVEL": "0", "PYTHONSAFEPATH": "1"}
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            self.app.abort(f"mypyc: {(done.stdout + done.stderr)[-_OUTPUT_SHOWN:]}")
        shutil.rmtree(folder / "build")
        return sorted(folder.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"))


def lacking() -> str | None:
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
