"""Calls of Kafka's clients in the product: each one ends, also after a broker stood still."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.unit.project.test_house import MODULES, ROOT, parsed

CLIENTS: Final = ("admin", "consumer", "producer")  # ends of the names that clients have
# Methods, and the argument that bounds them. Requests of the admin client return futures that may never end:
# consumers/kafka/pending.py and `result` of consumers/kafka/admin.py wait for them.
BOUNDED: Final = {
    "list_topics": "timeout",
    "committed": "timeout",
    "list_offsets": "request_timeout",
    "describe_topics": "request_timeout",
    "describe_configs": "request_timeout",
    "describe_consumer_groups": "request_timeout",
    "create_topics": "request_timeout",
    "delete_topics": "request_timeout",
    "incremental_alter_configs": "request_timeout",
}
# `describe_cluster` ends the process if the cluster lists no broker, the others if a coordinator has moved.
DEADLY: Final = {
    "describe_cluster",
    "list_consumer_group_offsets",
    "alter_consumer_group_offsets",
    "delete_consumer_group_offsets",
    "delete_consumer_groups",
}
# Where futures of the admin client are made; each module waits for them with a deadline.
REQUESTING: Final = {
    "consumers/inspect/lag.py",
    "consumers/kafka/admin.py",
    "consumers/kafka/group_positions.py",
    "consumers/kafka/safety.py",
    "consumers/kafka/topics.py",
    "consumers/service/topic_retention.py",
    "deploy/demo/demo.py",
    "deploy/dev/up.py",
    "deploy/doctor/reading/cluster.py",
    "producers/compacted/log.py",
}


@cache
def method_calls() -> list[tuple[str, ast.Call, ast.Attribute]]:
    """Return the calls of methods of Kafka's clients in the product, by the names of the clients."""
    return [
        (str(path.relative_to(ROOT)), node, node.func)
        for path in MODULES
        if path.relative_to(ROOT).parts[0] != "tests" and "confluent_kafka" in path.read_text(encoding="utf-8")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value).endswith(CLIENTS)
    ]


def arguments_of(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def calls_of(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield the module and the call of each method with one of these names."""
    return ((module, call) for module, call, function in method_calls() if function.attr in names)


def test_requests_to_brokers_have_a_timeout() -> None:
    """Each request to the brokers names its timeout."""
    for name, argument in BOUNDED.items():
        found = list(calls_of(name))
        assert found, name
        assert [(module, call.lineno) for module, call in found if argument not in arguments_of(call)] == [], name


def test_futures_of_brokers_are_made_where_they_have_a_deadline() -> None:
    """Only modules that wait with a deadline make requests whose futures may never end."""
    requests = [name for name, argument in BOUNDED.items() if argument == "request_timeout"]
    assert {module for module, call in calls_of(*requests)} == REQUESTING


def test_requests_that_can_end_the_process_are_not_used() -> None:
    """No module calls a method of the admin client that is known to end the process."""
    assert list(calls_of(*DEADLY)) == []


def test_producers_are_flushed_with_a_timeout() -> None:
    """A producer that has lost a record would never have sent all of them."""
    unbounded = [
        (module, call.lineno) for module, call, function in method_calls() if function.attr == "flush" and not call.args
    ]
    assert unbounded == []


def test_commits_that_wait_run_in_threads() -> None:
    """A commit that waits has no timeout of its own, so it is made in a thread, whose caller gives up."""
    waiting = {
        module
        for module, call in calls_of("commit")
        if any(ast.unparse(one) == "asynchronous=False" for one in call.keywords)
    }
    assert waiting == {"consumers/kafka/positions.py", "consumers/router/source.py"}
