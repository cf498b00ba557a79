"""Checks of the topics: what `signpost topics plan` finds, and missing sources."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import assert_never

from consumers.kafka.topics import Create, Impossible, Reconfigure, SetBeginning, TopicChange
from deploy.doctor.findings import Finding, error, some_of

_APPLY = "see the changes with `signpost topics plan`, then run `signpost topics apply`"


def check_topics(changes: Sequence[TopicChange], hidden: Collection[str] = ()) -> list[Finding]:
    """Return the findings about Signpost's own topics; `changes` are those of `signpost topics plan`.

    `hidden` are topics that ACLs hide: they may exist.
    """
    findings = []
    # With wrong settings every topic has the same problem.
    impossible: dict[tuple[str, str], list[str]] = {}
    missing = [
        change.topic.name for change in changes if isinstance(change, Create) and change.topic.name not in hidden
    ]
    if missing:
        what = "the topic does not exist" if len(missing) == 1 else f"{len(missing)} topics do not exist"
        findings.append(error("topics", "topic_missing", some_of(missing), what, _APPLY))
    for change in changes:
        match change:
            case Create():
                pass
            case Reconfigure(name, configs):
                listed = ", ".join(f"{key} is {has} instead of {wanted}" for key, (has, wanted) in configs.items())
                findings.append(error("topics", "topic_config", name, listed, _APPLY))
            case SetBeginning(group, topic, partitions):
                what = f"the group {group} has no position in {len(partitions)} empty partitions"
                findings.append(error("topics", "position_missing", topic, what, _APPLY))
            case Impossible(name, problem, remedy):
                impossible.setdefault((problem, remedy), []).append(name)
            case _:
                assert_never(change)
    findings += [
        error("topics", "topic_layout", some_of(names), problem, remedy)
        for (problem, remedy), names in impossible.items()
    ]
    return findings


def check_sources(sources: Iterable[str], present: Collection[str]) -> list[Finding]:
    """Return a finding for each source topic that its team has not created. `present` has topics that ACLs hide."""
    return [
        error(
            "topics",
            "source_missing",
            topic,
            "the source topic does not exist: the router does not start",
            "create the topic, or remove it from the setting sources",
        )
        for topic in sources
        if topic not in present
    ]
