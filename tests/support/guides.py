"""Runs the code of the receivers' guides on requests: one program per language for all senders."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.reference.verification import FILES
from tests.support.npm import installed

_DRIVERS: Final = Path(__file__).parent / "drivers"
NPM: Final = Path(__file__).parents[1] / "contracts" / "documents"
# The parts of the machine that each language needs (tests/support/parts.py).
PARTS: Final[Mapping[str, tuple[str, ...]]] = {"python": (), "typescript": ("node",), "go": ("go",), "java": ("jdk",)}


class Case(NamedTuple):
    """A request as a receiver gets it, its secret, the receiver's time, and whether it is genuine."""

    sender: str
    what: str
    secret: str
    headers: Mapping[str, str]
    body: bytes
    now_s: int
    genuine: bool

    def but(self, what: str, *, genuine: bool = False, **fields: Any) -> Case:
        """Return this request with other fields; not genuine by default."""
        return self._replace(what=what, genuine=genuine, **fields)


def blocks(page: str, chapter: str, language: str) -> list[str]:
    """Return the code of a chapter in a language."""
    text = page.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def answers(language: str, guides: Mapping[str, str], cases: Sequence[Case], folder: Path) -> list[bool]:
    """Return the result of the guide's code for each case; `guides` has the pages by sender."""
    for sender, page in guides.items():
        (code,) = blocks(page, "Verify", language)
        (folder / sender).mkdir()
        package = f"package {sender};\n" if language == "java" else ""
        (folder / sender / FILES[language]).write_text(package + code, encoding="utf-8")
    command = _PREPARE[language](folder, list(guides))
    words = _run(command, folder, "".join(_line(case) for case in cases)).split()
    assert len(words) == len(cases)
    return [word == "true" for word in words]


def _line(case: Case) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in case.headers.items())
    cells = (case.sender.encode(), case.secret.encode(), b"%d" % case.now_s, case.body, headers.encode())
    return "\t".join(base64.b64encode(cell).decode() for cell in cells) + "\n"


def _run(command: Sequence[str | Path], folder: Path, stdin: str = "") -> str:
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _python(_folder: Path, _senders: Sequence[str]) -> list[str | Path]:
    return [sys.executable, "-W", "error", _DRIVERS / "drive.py"]


def _typescript(folder: Path, senders: Sequence[str]) -> list[str | Path]:
    """Compile in strict mode, with the types of Node.js only."""
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "node_modules").symlink_to(installed(NPM) / "node_modules")
    options = ["--strict", "--noUnusedLocals", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    files = [folder / sender / FILES["typescript"] for sender in senders]
    _run([folder / "node_modules" / ".bin" / "tsc", *options, "--skipLibCheck", *files], folder)
    shutil.copy(_DRIVERS / "drive.mjs", folder)
    return ["node", folder / "drive.mjs"]


def _go(folder: Path, senders: Sequence[str]) -> list[str | Path]:
    """Compile one program with a package for each sender; gofmt must accept all of them."""
    (folder / "go.mod").write_text("module guides\n\ngo 1.20\n", encoding="utf-8")
    shutil.copy(_DRIVERS / "drive.go", folder)
    imports = "".join(f'\t{sender} "guides/{sender}"\n' for sender in senders)
    timed = {
        sender: "now time.Time" in (folder / sender / FILES["go"]).read_text(encoding="utf-8") for sender in senders
    }
    codes = "".join(
        f'\t"{sender}": {f"{sender}.IsGenuine" if timed[sender] else f"timeless({sender}.IsGenuine)"},\n'
        for sender in senders
    )
    text = f"package main\n\nimport (\n{imports})\n\nvar codes = map[string]isGenuine{{\n{codes}}}\n"
    (folder / "codes.go").write_text(text, encoding="utf-8")
    assert _run(["gofmt", "-l", *senders], folder) == ""
    _run(["go", "build", "-o", "drive", "."], folder)
    return [folder / "drive"]


def _java(folder: Path, senders: Sequence[str]) -> list[str | Path]:
    """Compile all classes; a warning is an error."""
    files = [folder / sender / FILES["java"] for sender in senders]
    _run(["javac", "-Xlint:all", "-Werror", "-d", folder / "classes", _DRIVERS / "Drive.java", *files], folder)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", folder / "classes", "Drive"]


_PREPARE: Final[Mapping[str, Callable[[Path, Sequence[str]], list[str | Path]]]] = {
    "python": _python,
    "typescript": _typescript,
    "go": _go,
    "java": _java,
}
