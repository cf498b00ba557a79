"""`python -m tests.bench.before COMMIT`: delivery and router of another commit next to those of this checkout.

Prints a table and a line of JSON for each benchmark, interpreted and compiled. Both sides take turns. They read the
topics and records of this checkout, are started with their own commands and compiled by their own build. Only the
second half of a run counts, without its last twentieth.

- delivery: jobs of about 320 bytes for 100 subscriptions, sent to the same sink.
- router: events of ten customers with three subscriptions each, so three jobs per event.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeAlias

from deploy.dev.broker import start_broker
from hatch_build import VARIABLE, missing_tools
from schemas.catalog.errors import InvalidInput, Unavailable
from tests.bench.measure import Throughput, medians, throughput_of
from tests.bench.sink import Sink
from tests.bench.stage import Bench
from tests.support.compiled import ROOT, build_wheel, environment, unpacked

# `rate` in jobs per second, `cpu_us` in microseconds per job.
Figures: TypeAlias = dict[str, float]

_JOBS: Final = 200_000
_SUBSCRIPTIONS: Final = 100
_EVENTS: Final = 150_000
_CUSTOMERS: Final = 10
_FAN_OUT: Final = 3
_SIDES: Final = ("before", "now")
# In two rounds, each side is first once.
_ORDERS: Final = (_SIDES, _SIDES[::-1])
# The option that numbers a process, by the parameter of the command that declares it.
_INSTANCE_OPTION: Final = re.compile(r"^    (instance|slot): Annotated\[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checkout:
    """Packages of one commit; `sources` has their commands, `packages` may be a compiled copy."""

    sources: Path
    packages: Path

    def command(self, role: str) -> list[str]:
        """Return the arguments that start a role of this commit as process 0 of its kind."""
        text = (self.sources / "deploy" / "cli" / f"{role}.py").read_text(encoding="utf-8")
        option = _INSTANCE_OPTION.search(text)
        return [role, f"--{option[1]}", "0"] if option else [role]

    def check(self) -> None:
        """Raise Unavailable unless Python imports these packages in the environment of the roles."""
        command = [sys.executable, "-c", "import deploy.cli.main as main; print(main.__file__)"]
        done = _captured(command, env=os.environ | environment(self.packages), cwd=self.packages)
        if done.returncode != 0 or not Path(done.stdout.strip()).resolve().is_relative_to(self.packages.resolve()):
            raise Unavailable(f"the packages of {self.packages} do not start: {done.stdout}{done.stderr}")


def main() -> None:
    """Measure both sides and print their tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.before",
        description="Compare delivery and router of another commit with those of this checkout.",
    )
    parser.add_argument("commit", help="commit of this repository, as git names it")
    parser.add_argument("--only", choices=list(BENCHMARKS), help="run one benchmark (default: both)")
    parser.add_argument("--interpreted", action="store_true", help="skip the compiled comparison")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all sizes (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: 3)")
    options = parser.parse_args()
    names = [options.only] if options.only else list(BENCHMARKS)
    try:
        _run(options.commit, names, options.scale, options.rounds, with_compiled=not options.interpreted)
    except (InvalidInput, Unavailable) as error:
        sys.exit(f"bench-before: {error}")


def _run(commit: str, names: Sequence[str], scale: float, rounds: int, *, with_compiled: bool) -> None:
    given = os.environ.get("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS")
    # The sink comes first: without nginx nothing is compiled in vain.
    with Sink() as sink, checked_out(commit) as tree, tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
        check_packages(commit, tree)
        modes = {"interpreted": {"before": Checkout(tree, tree), "now": Checkout(ROOT, ROOT)}}
        if with_compiled:
            modes |= _compiled(tree, Path(folder))
        for sides in modes.values():
            for checkout in sides.values():
                checkout.check()
        with start_broker(given, on_progress=_report) as broker:
            found = _measure(Bench(broker.bootstrap_servers, sink, scale), names, modes, rounds)
    for (name, mode), figures in found.items():
        print(table(f"{name}, {mode}", commit, figures))
        how = {"benchmark": "before", "of": name, "mode": mode, "commit": commit, "scale": scale, "rounds": figures}
        print(json.dumps({**how, **compared(figures)}), flush=True)


def _compiled(tree: Path, folder: Path) -> dict[str, dict[str, Checkout]]:
    """Return the compiled sides; none, after a report of the reason, if one cannot be compiled."""
    if reason := missing_tools():
        _report(f"bench-before: the compiled comparison is left out: {reason}")
        return {}
    _report("bench-before: compiling both sides; each takes one to three minutes")
    try:
        before = compiled_packages(tree, folder)
    except Unavailable as error:
        _report(f"bench-before: the compiled comparison is left out: {error}")
        return {}
    return {"compiled": {"before": Checkout(tree, before), "now": Checkout(ROOT, unpacked())}}


def _measure(
    bench: Bench, names: Sequence[str], modes: Mapping[str, Mapping[str, Checkout]], rounds: int
) -> dict[tuple[str, str], dict[str, list[Figures]]]:
    """Return the figures of each side in each round, by benchmark and mode."""
    found: dict[tuple[str, str], dict[str, list[Figures]]] = {
        (name, mode): {side: [] for side in _SIDES} for name in names for mode in modes
    }
    for number in range(rounds):
        for (name, mode), figures in found.items():
            for side in _ORDERS[number % 2]:
                one = BENCHMARKS[name](bench, modes[mode][side])
                figures[side].append(one)
                _report(f"bench-before: round {number + 1} of {rounds}, {name}, {mode}, {side}: {one}")
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Give a folder with the files of a commit; InvalidInput if git does not know the commit."""
    if shutil.which("git") is None:
        raise Unavailable("git is not installed; it has the files of the other commit")
    with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
        archive = ["git", "-C", str(ROOT), "archive", "--output", f"{folder}/tree.tar", commit]
        done = _captured(archive)
        if done.returncode != 0:
            raise InvalidInput(f"git knows no commit {commit!r}: {done.stderr.strip()}")
        tree = Path(folder) / "tree"
        tree.mkdir()
        subprocess.run(["tar", "-x", "-f", f"{folder}/tree.tar", "-C", str(tree)], check=True)
        yield tree


def check_packages(commit: str, tree: Path) -> None:
    """Raise Unavailable if this environment lacks a package that the commit depends on, with the command to run."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = [requirement for requirement in project["dependencies"] if not _is_installed(requirement)]
    if missing:
        arguments = " ".join(f"'{requirement}'" for requirement in missing)
        raise Unavailable(
            f"commit {commit} depends on packages that are not installed: {sys.executable} -m pip install {arguments}"
        )


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    try:
        metadata.distribution(name[0] if name else requirement)
    except metadata.PackageNotFoundError:
        return False
    return True


def compiled_packages(tree: Path, folder: Path) -> Path:
    """Compile a source tree by its own means; return the folder of its packages, or raise Unavailable.

    Trees have a build hook (hatch_build.py), or older ones the command `python -m deploy.compiling`.
    """
    packages = folder / "packages"
    if (tree / "hatch_build.py").is_file():
        wheel = build_wheel(tree, folder / "wheel", {VARIABLE: "1"})
        zipfile.ZipFile(wheel).extractall(packages)
    elif (tree / "deploy" / "compiling.py").is_file():
        command = [sys.executable, "-m", "deploy.compiling", "--folder", str(packages)]
        done = _captured(command, env=os.environ | environment(tree), cwd=tree)
        if done.returncode != 0:
            raise Unavailable(f"{' '.join(command[1:])}: {done.stdout}{done.stderr}")
    else:
        raise Unavailable("the other commit has neither hatch_build.py nor deploy/compiling.py")
    if not any(packages.rglob("*.so")):
        raise Unavailable("the build of the other commit made no compiled modules")
    return packages


def measure_delivery(bench: Bench, checkout: Checkout) -> Figures:
    """Deliver jobs that wait."""
    jobs = bench.scaled(_JOBS)
    with bench.stage() as stage:
        stage.fill(stage.jobs_for(stage.subscribed(_SUBSCRIPTIONS), jobs))
        counted = bench.sink.counted()
        role = stage.start_in(checkout.packages, checkout.command("deliver"))
        return _figures(throughput_of([role], counted, begin=0.5 * jobs, end=0.95 * jobs))


def measure_router(bench: Bench, checkout: Checkout) -> Figures:
    """Route events that wait."""
    events = bench.scaled(_EVENTS)
    with bench.stage() as stage:
        stage.subscribed(_CUSTOMERS, _FAN_OUT)
        stage.fill_events(_CUSTOMERS, events)
        role = stage.start_in(checkout.packages, checkout.command("router")).wait_ready()
        jobs = partial(role.metric, "signpost_router_jobs_total")
        return _figures(throughput_of([role], jobs, begin=0.5 * events * _FAN_OUT, end=0.95 * events * _FAN_OUT))


BENCHMARKS: Final[Mapping[str, Callable[[Bench, Checkout], Figures]]] = {
    "delivery": measure_delivery,
    "router": measure_router,
}


def _figures(throughput: Throughput) -> Figures:
    return {"rate": round(throughput.rate), "cpu_us": round(throughput.cpu_us, 1)}


def compared(found: Mapping[str, Sequence[Figures]]) -> dict[str, Any]:
    """Return the median of each side, and the ratios of rate and CPU, now to before."""
    usual = {side: medians(rounds) for side, rounds in found.items()}
    before, now = usual["before"], usual["now"]
    return {
        **usual,
        "rate_ratio": round(now["rate"] / before["rate"], 2),
        "cpu_ratio": round(now["cpu_us"] / before["cpu_us"], 2),
    }


def table(title: str, commit: str, found: Mapping[str, Sequence[Figures]]) -> str:
    """Return rate and CPU per job of each round and of the medians as a table, and the ratios of the medians."""
    result = compared(found)
    rounds = zip(found["before"], found["now"], strict=True)
    rows = [(str(number), before, now) for number, (before, now) in enumerate(rounds, 1)]
    rows.append(("median", result["before"], result["now"]))
    head = f"{'round':8}{'before/s':>12}{'CPU µs/job':>12}{'now/s':>12}{'CPU µs/job':>12}"
    lines = [
        f"{name:8}{before['rate']:12,.0f}{before['cpu_us']:12.1f}{now['rate']:12,.0f}{now['cpu_us']:12.1f}"
        for name, before, now in rows
    ]
    ratios = f"now / before: rate {result['rate_ratio']:.2f}, CPU per job {result['cpu_ratio']:.2f}"
    return "\n".join([f"{title} (before: {commit})", head, *lines, ratios, ""])


def _captured(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
