"""`python -m tests.bench NAME…`: prints a line of JSON for each benchmark and its yardsticks.

In several rounds the benchmarks take turns. Each round prints its lines; lines with medians follow.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from deploy.dev.broker import start_broker
from schemas.catalog.errors import Unavailable
from tests.bench.api import api
from tests.bench.delivery import backlog, delivery, processes
from tests.bench.endpoints import endpoints
from tests.bench.flood import flood
from tests.bench.latency import latency
from tests.bench.lateness import lateness
from tests.bench.ledger import ledger
from tests.bench.measure import medians
from tests.bench.memory import memory
from tests.bench.router import router
from tests.bench.scrape import scrape
from tests.bench.senders import senders
from tests.bench.sink import Sink
from tests.bench.stage import Bench
from tests.bench.staleness import staleness
from tests.bench.tools import tools
from tests.support.compiled import compiled

BENCHMARKS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "delivery": delivery,
    "router": router,
    "latency": latency,
    "lateness": lateness,
    "staleness": staleness,
    "memory": memory,
    "backlog": backlog,
    "processes": processes,
    "endpoints": endpoints,
    "flood": flood,
    "senders": senders,
    "scrape": scrape,
    "ledger": ledger,
    "tools": tools,
    "api": api,
}


def main() -> None:
    """Run the given benchmarks, or all."""
    names = "\n".join(f"  {name:10} {run.__doc__}" for name, run in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", epilog=names, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all sizes (default: 1)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each benchmark (default: 1)")
    parser.add_argument(
        "--interpreted", action="store_true", help="run roles interpreted, even if they can be compiled"
    )
    options = parser.parse_args()
    unknown = set(options.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    try:
        with compiled(wanted=not options.interpreted) as is_compiled:
            _run(options.names or list(BENCHMARKS), options.scale, options.rounds, is_compiled=is_compiled)
    except Unavailable as error:
        sys.exit(f"bench: {error}")


def _run(names: list[str], scale: float, rounds: int, *, is_compiled: bool) -> None:
    options = {"scale": scale, "compiled": is_compiled}
    given = os.environ.get("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS")
    with Sink() as sink, start_broker(given, on_progress=lambda line: print(line, file=sys.stderr)) as broker:
        bench = Bench(broker.bootstrap_servers, sink, scale)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, results in found.items():
                started_s = time.monotonic()
                figures = BENCHMARKS[name](bench)
                duration_s = round(time.monotonic() - started_s, 1)
                figures |= {"duration_s": duration_s, "load_average": os.getloadavg()[0]}
                results.append(figures)
                print(json.dumps({"benchmark": name, **options, **figures}), flush=True)
        for name, results in found.items() if rounds > 1 else ():
            print(json.dumps({"benchmark": name, **options, "medians_of": rounds, **medians(results)}))


if __name__ == "__main__":
    main()
