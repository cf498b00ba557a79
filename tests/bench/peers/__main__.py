"""`python -m tests.bench.peers`: delivery next to Confluent's parallel-consumer and Bento; prints a line of JSON.

A bare socket loop without Kafka shows the minimum cost of the requests.

All programs read the same number of records from the same number of partitions and post the same bodies with an HMAC
header to the same sink. They take turns. The second half of each run counts, when the JVM is warm. The peers read
bodies; only Signpost reads jobs, looks up subscriptions, checks addresses, and commits an outcome of each job in a
transaction with its position. With a C compiler Signpost runs both compiled and interpreted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from deploy.dev.broker import start_broker
from schemas.catalog.errors import Unavailable
from tests.bench.measure import Process, medians, throughput_of
from tests.bench.peers.programs import Bento, ParallelConsumer, Program, running
from tests.bench.sink import Sink
from tests.bench.stage import PARTITIONS, Bench, Stage
from tests.bench.yardsticks import run as yardstick
from tests.support.compiled import compiled
from tests.support.topics import create_topic

_JOBS: Final = 100_000
_SUBSCRIPTIONS: Final = 100
_BARE: Final = "bare_sockets_128"
_INTERPRETED: Final = "signpost_interpreted"


def main() -> None:
    """Run all programs in turn and print their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all sizes (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program (default: 3)")
    options = parser.parse_args()
    try:
        _run(options.scale, options.rounds)
    except Unavailable as error:
        sys.exit(f"bench-peers: {error}")


def _run(scale: float, rounds: int) -> None:
    programs: dict[str, Program] = {
        "parallel_consumer_64": ParallelConsumer(in_flight=64, outcomes=False),
        "parallel_consumer_512_outcomes": ParallelConsumer(in_flight=512, outcomes=True),
    }
    if Bento.program() is None:
        print("bench-peers: bento is not on the PATH and is skipped", file=sys.stderr)
    else:
        programs["bento_64"] = Bento(in_flight=64)
    given = os.environ.get("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS")
    with Sink() as sink, start_broker(given, on_progress=lambda line: print(line, file=sys.stderr)) as broker:
        bench = Bench(broker.bootstrap_servers, sink, scale)
        with compiled() as is_compiled:  # compiles before anything is measured
            own = ("signpost", _INTERPRETED) if is_compiled else ("signpost",)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in (*own, _BARE, *programs)}
        for _ in range(rounds):
            for name, figures in _round(bench, own, programs):
                found[name].append(figures)
                print(f"bench-peers: {name} {figures}", file=sys.stderr)
    print(json.dumps({"benchmark": "peers", "scale": scale, "rounds": rounds, **_summary(found)}), flush=True)


def _round(bench: Bench, own: Sequence[str], programs: dict[str, Program]) -> Iterator[tuple[str, dict[str, float]]]:
    """Run each program once, on topics of this round."""
    jobs = bench.scaled(_JOBS)
    with bench.stage() as stage:
        bodies, outcomes = f"{stage.names.prefix}bodies", f"{stage.names.prefix}peers"
        for topic in (bodies, outcomes):
            create_topic(stage.bootstrap_servers, topic, PARTITIONS)
        subscribed = stage.subscribed(_SUBSCRIPTIONS)
        stage.fill(stage.bodies_for(subscribed, 2 * jobs), bodies)
        for number, name in enumerate(own):
            stage.fill(stage.jobs_for(subscribed, 2 * jobs, start=2 * jobs * number))
            with compiled(wanted=name != _INTERPRETED):
                yield name, _turn(bench, jobs, _signpost(stage))
        yield _BARE, yardstick("bare", bench.sink.url, str(jobs), "128")  # the limit of Signpost for a host
        for name, program in programs.items():
            group = f"{stage.names.prefix}{name}"
            command = program.command(bench.bootstrap_servers, bodies, group, bench.sink.url, outcomes)
            yield name, _turn(bench, jobs, running(command))


@contextmanager
def _signpost(stage: Stage) -> Iterator[Process]:
    role = stage.deliver(ready=False)
    yield role
    role.terminate()


def _turn(bench: Bench, jobs: int, started: AbstractContextManager[Process]) -> dict[str, float]:
    """Let a program process twice `jobs` records; the first half and the last 5 % of the second do not count."""
    count = bench.sink.counted()
    with started as process:
        throughput = throughput_of([process], count, begin=jobs, end=1.95 * jobs)
    return {"rate": round(throughput.rate), "cpu_us": round(throughput.cpu_us, 1)}


def _summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the medians of each program, and the ratios of rate and CPU, Signpost to each of the others."""
    results = {name: medians(rounds) for name, rounds in found.items()}
    own = results["signpost"]
    return {
        **results,
        "rate_ratio": {
            name: round(own["rate"] / other["rate"], 2) for name, other in results.items() if other is not own
        },
        "cpu_ratio": {
            name: round(own["cpu_us"] / other["cpu_us"], 2) for name, other in results.items() if other is not own
        },
    }


if __name__ == "__main__":
    main()
