"""`python -m tests.bench.before COMMIT`: the delivery process beside that of another commit, in turns.

Prints one line of JSON. Both deliver as many jobs of ~320 bytes for 100 subscriptions, from topics as they are now, to
the same sink. The first half of each run does not count, nor the last twentieth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.dev.broker import start_broker
from schemas.catalog.errors import InvalidInput, Unavailable
from tests.bench.measure import medians, work_of
from tests.bench.sink import Sink
from tests.bench.stage import Bench

_JOBS: Final = 200_000
_SUBSCRIPTIONS: Final = 100
_HERE: Final = Path(__file__).parents[2]
# Each stands first once in two rounds.
_ORDERS: Final = (("before", "now"), ("now", "before"))


def main() -> None:
    """Run both in turn and print their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.before")
    parser.add_argument("commit", help="of this repository, as git names it")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes; 0.1 takes a tenth (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each has its turn (default: 3)")
    options = parser.parse_args()
    try:
        _run(options.commit, options.scale, options.rounds)
    except (InvalidInput, Unavailable) as error:
        sys.exit(f"bench-before: {error}")


def _run(commit: str, scale: float, rounds: int) -> None:
    given = os.environ.get("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS")
    found: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    with (
        checked_out(commit) as tree,
        Sink() as sink,
        start_broker(given, on_progress=lambda line: print(line, file=sys.stderr)) as broker,
    ):
        trees = {"before": tree, "now": _HERE}
        bench = Bench(broker.bootstrap_servers, sink, scale)
        for number in range(rounds):
            for name in _ORDERS[number % 2]:
                figures = deliver(bench, trees[name])
                found[name].append(figures)
                print(f"bench-before: {name} {figures}", file=sys.stderr)
    print(json.dumps({"benchmark": "before", "commit": commit, "scale": scale, "rounds": rounds, **compared(found)}))


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Hand out a folder with the files of a commit; InvalidInput if there is none of that name."""
    with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
        archive = ["git", "-C", str(_HERE), "archive", "--output", f"{folder}/tree.tar", commit]
        done = subprocess.run(archive, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InvalidInput(f"git knows no commit {commit!r}: {done.stderr.strip()}")
        tree = Path(folder) / "tree"
        tree.mkdir()
        subprocess.run(["tar", "-x", "-f", f"{folder}/tree.tar", "-C", str(tree)], check=True)
        yield tree


def deliver(bench: Bench, tree: Path) -> dict[str, float]:
    """Let the delivery process of a tree work through the jobs; deliveries a second, and CPU of each in us."""
    jobs = bench.scaled(_JOBS)
    with bench.stage() as stage:
        stage.fill(stage.jobs_for(stage.subscribed(_SUBSCRIPTIONS), jobs))
        counted = bench.sink.counted()
        role = stage.start_in(tree, "deliver")
        work = work_of([role], counted, begin=0.5 * jobs, end=0.95 * jobs)
    return {"rate": round(work.rate), "cpu_us": round(work.cpu_us, 1)}


def compared(found: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Return the median of each, and what those of now are of those before."""
    usual = {name: medians(rounds) for name, rounds in found.items()}
    now, before = usual["now"], usual["before"]
    return {
        **usual,
        "of_rate": round(now["rate"] / before["rate"], 2),
        "of_cpu": round(now["cpu_us"] / before["cpu_us"], 2),
    }


if __name__ == "__main__":
    main()
