"""`python -m tests.bench.peers`: Signpost's delivery beside Confluent's parallel-consumer and Bento, one line of JSON.

Beside them a bare loop of sockets, without Kafka and with nothing to decide: the least that it takes to post.

All read as many records from as many partitions and post the same bodies with an HMAC header to the same sink. They
take turns for three rounds, and the second half of each run counts, when the JVM is warm. The peers are given bodies as
they are; only Signpost reads jobs, looks its subscriptions up, checks addresses, and has an outcome of each recorded in
one transaction with its position. Where there is a C compiler Signpost runs compiled, and once more as it is.
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
from tests.bench.measure import Process, medians, work_of
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
    """Run all in turn and print their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes; 0.1 takes a tenth (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each has its turn (default: 3)")
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
        print("bench-peers: bento is not on the PATH and is left out", file=sys.stderr)
    else:
        programs["bento_64"] = Bento(in_flight=64)
    given = os.environ.get("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS")
    with Sink() as sink, start_broker(given, on_progress=lambda line: print(line, file=sys.stderr)) as broker:
        bench = Bench(broker.bootstrap_servers, sink, scale)
        with compiled() as is_compiled:  # builds it, before anything is measured
            own = ("signpost", _INTERPRETED) if is_compiled else ("signpost",)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in (*own, _BARE, *programs)}
        for _ in range(rounds):
            for name, figures in _round(bench, own, programs):
                found[name].append(figures)
                print(f"bench-peers: {name} {figures}", file=sys.stderr)
    print(json.dumps({"benchmark": "peers", "scale": scale, "rounds": rounds, **_summary(found)}), flush=True)


def _round(bench: Bench, own: Sequence[str], programs: dict[str, Program]) -> Iterator[tuple[str, dict[str, float]]]:
    """Give each one its turn, on topics of this round."""
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
        yield _BARE, yardstick("bare", bench.sink.url, str(jobs), "128")  # as many at once as Signpost has for a host
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
    """Let one work through twice `jobs`; the first half does not count, nor the last of the second."""
    count = bench.sink.counted()
    with started as process:
        work = work_of([process], count, begin=jobs, end=1.95 * jobs)
    return {"rate": round(work.rate), "cpu_us": round(work.cpu_us, 1)}


def _summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the median of each, and Signpost's rate and CPU as parts of the others'."""
    usual = {name: medians(rounds) for name, rounds in found.items()}
    own = usual["signpost"]
    return {
        **usual,
        "of_rate": {name: round(own["rate"] / other["rate"], 2) for name, other in usual.items() if other is not own},
        "of_cpu": {
            name: round(own["cpu_us"] / other["cpu_us"], 2) for name, other in usual.items() if other is not own
        },
    }


if __name__ == "__main__":
    main()
