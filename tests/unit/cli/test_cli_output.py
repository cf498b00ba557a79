"""Commands on narrow, ASCII-only, full and closed outputs, and Ctrl-C while they are imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cli.columns import Column, folded, table
from deploy.cli.dead_letters import lines_of
from deploy.config.logs import configure_logging
from tests.unit.cli.test_cli_columns import LETTER

COMMAND = [sys.executable, "-m", "deploy.cli"]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
# Each writes to standard output in its own way: a table, JSON, help of rich, a version, many lines.
WRITERS = [
    ["settings"],
    ["settings", "--json"],
    ["--help"],
    ["--version"],
    ["senders", "list"],
    ["senders", "list", "--json"],
    ["settings", "--describe"],
]


def run(
    *arguments: str, stdout: int | None = subprocess.PIPE, folder: Path, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNPOST_")}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**environment, **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
    )


@needs_full
@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_full_disk_gives_a_sentence(arguments: list[str], tmp_path: Path) -> None:
    """Output that cannot be written is one sentence and exit code 1, and never a success."""
    with FULL.open("wb") as full:
        done = run(*arguments, stdout=full.fileno(), folder=tmp_path)
    sentence = "error: a file or the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (1, sentence)


@needs_full
@pytest.mark.parametrize("arguments", [["setings"], ["settings", "--config", "none.toml"]], ids=" ".join)
def test_error_that_cannot_be_written_keeps_its_exit_code(arguments: list[str], tmp_path: Path) -> None:
    """With a full standard error, invalid input still exits with a failure, and nothing hangs."""
    with FULL.open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, check=False, timeout=120
        )
    assert done.returncode in {1, 2}
    assert done.stdout == b""


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_closed_pipe_is_silent(arguments: list[str], tmp_path: Path) -> None:
    """A reader that has gone, as of `| head`, gives no traceback."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = run(*arguments, stdout=writes, folder=tmp_path)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_process_without_standard_output_works(arguments: list[str], tmp_path: Path) -> None:
    """A process can be started without standard output, as `>&-` does."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_the_terminal_works(arguments: list[str], encoding: str, tmp_path: Path) -> None:
    """Output has the encoding of the terminal; characters that it lacks are escaped, in JSON as JSON does."""
    (tmp_path / "signpost.toml").write_text('senders = ["é…😀"]\n', encoding="utf-8")
    (tmp_path / "é…😀").mkdir()
    done = run(*arguments, folder=tmp_path, PYTHONIOENCODING=encoding, COLUMNS="200")
    assert b"Traceback" not in done.stderr
    text = done.stdout.decode(encoding)
    done.stderr.decode(encoding)
    if arguments == ["settings", "--json"]:
        assert json.loads(text)["senders"]["value"] == ["é…😀"]


def test_error_with_any_text_is_printed_on_an_ascii_terminal(tmp_path: Path) -> None:
    """A file name that is not UTF-8, and one that is not ASCII, are escaped in errors."""
    for name in (os.fsdecode(b"\xff.toml"), "é😀.toml"):
        done = run("--config", name, "settings", folder=tmp_path, PYTHONIOENCODING="ascii", LANG="C")
        assert done.returncode == 2
        assert done.stderr.startswith(b"error: ")
        assert b"Traceback" not in done.stderr
        assert done.stderr.isascii()


@pytest.mark.parametrize(("module", "arguments"), [("typer", ["--version"]), ("confluent_kafka", ["lag"])])
@pytest.mark.parametrize(
    "moment",
    ["os.kill(os.getpid(), 2)", "class A:\n    def __set_name__(self, *_): os.kill(os.getpid(), 2)\nclass B: a = A()"],
    ids=["import", "class"],
)
def test_interrupt_while_importing_ends_the_process(
    module: str, arguments: list[str], moment: str, tmp_path: Path
) -> None:
    """Ctrl-C before a command has begun ends the process by the signal, without a traceback."""
    (tmp_path / f"{module}.py").write_text(f"import os\n{moment}\n")
    done = run(*arguments, folder=tmp_path, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGINT, b"", b"")


def test_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """A command in the background of a script, which ignores Ctrl-C, is not ended by it."""
    (tmp_path / "confluent_kafka.py").write_text("import os\nos.kill(os.getpid(), 2)\nraise ImportError('reached')\n")
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND, "lag"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=120)
    assert b"reached" in done.stderr


@needs_full
def test_log_on_a_full_disk_stops_no_role() -> None:
    """Log lines that cannot be written are lost, and their writer goes on."""
    program = (
        "import logging, structlog\n"
        "from deploy.config.logs import configure_logging\n"
        "configure_logging()\n"
        "structlog.get_logger().warning('router.started')\n"
        "logging.getLogger('signpost').warning('line')\n"
        "print('goes on')\n"
    )
    with FULL.open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (0, b"goes on\n")
    assert callable(configure_logging)


@pytest.mark.parametrize("width", [20, 40, 60])
def test_table_that_cannot_be_cut_is_folded(width: int) -> None:
    """Below their least width, rows become paragraphs in which no cell is lost."""
    columns = (Column("ID"), Column("URL", least=12, cut_order=1), Column("WHY"))
    row = ("sub-" + "1" * 20, "https://hooks.acme.example/" + "p" * 40, "disabled, since it has failed for five days")
    lines = table(columns, [row, row], width)
    assert max(map(len, lines)) <= width
    flat = "".join("".join(lines).split())
    for head, cell in zip(("", "url:", "why:"), row, strict=True):
        assert flat.count(head + "".join(cell.split())) == 2


@pytest.mark.parametrize("width", [30, 40, 60, 79])
def test_dead_letters_fit_a_narrow_terminal(width: int) -> None:
    """Id, reason, retry and event id of a dead letter are complete on a narrow terminal."""
    lines = lines_of([LETTER], width)
    assert max(map(len, lines)) <= width
    flat = "".join("".join(lines).split())
    for part in (LETTER["id"], LETTER["reason"], "run2", LETTER["event_id"]):
        assert str(part) in flat


def test_folding_works_at_any_width() -> None:
    """A terminal narrower than the indentation still gets all characters."""
    for width in range(1, 12):
        assert "".join(folded("    ab cd=efghijkl", width).split()) == "abcd=efghijkl"
