"""The table of commands: where each is, and what `signpost --help` says about it.

A command's module is imported when the command is called: settings and clients take 0.4 s to load, which `--help` and
completion of names do not need. A test compares each help text here with the command's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

START: Final = "Start here"
PIPELINE: Final = "Subscriptions and events"
ROLES: Final = "Roles, one per process"
OPERATE: Final = "Operate"


class CommandEntry(NamedTuple):
    """A command; `module` has it as its `app`, `help` is its first paragraph, `panel` is its place in the help."""

    name: str
    module: str
    help: str
    panel: str


COMMANDS: Final = (
    CommandEntry(
        "up",
        "deploy.cli.up",
        "Run a broker (unless the settings name one), create the topics, and run all roles until Ctrl-C or SIGTERM.",
        START,
    ),
    CommandEntry(
        "demo",
        "deploy.cli.demo",
        "Run the main job end to end: events in, signed webhooks out, retries and dead letters, everything counted.",
        START,
    ),
    CommandEntry(
        "broker",
        "deploy.cli.broker",
        "Run a Kafka broker on this machine until Ctrl-C: in a container if Docker responds, else on Java 17 or later.",
        START,
    ),
    CommandEntry(
        "receiver",
        "deploy.cli.receiver",
        "Receive webhooks, verify their signatures, and print one line per delivery until Ctrl-C.",
        START,
    ),
    CommandEntry("events", "deploy.cli.events", "Publish events, your own or simulated ones.", PIPELINE),
    CommandEntry(
        "subscriptions",
        "deploy.cli.subscriptions",
        "Manage subscriptions: which events of which customer go to which URL.",
        PIPELINE,
    ),
    CommandEntry(
        "keys",
        "deploy.cli.keys",
        "Manage API keys: who may read and write the subscriptions of a customer over the REST APIs.",
        PIPELINE,
    ),
    CommandEntry("senders", "deploy.cli.senders", "Show how webhooks look, and add senders of your own.", PIPELINE),
    CommandEntry(
        "verify",
        "deploy.cli.verify",
        "Check whether a request is genuine (exit code 0), and if not, explain why (exit code 1).",
        PIPELINE,
    ),
    CommandEntry(
        "router",
        "deploy.cli.router",
        "Match each event with the subscriptions of its customer, and create a job for each match.",
        ROLES,
    ),
    CommandEntry(
        "deliver",
        "deploy.cli.deliver",
        "Deliver the jobs that are due: sign, POST, retry on schedule, record every attempt.",
        ROLES,
    ),
    CommandEntry(
        "ledger",
        "deploy.cli.ledger",
        "Write every outcome into the database of the ledger: attempts, deliveries, hourly numbers and totals.",
        ROLES,
    ),
    CommandEntry(
        "api",
        "deploy.cli.api",
        "Serve the REST APIs by which customers manage their webhooks. Any number of processes may run.",
        ROLES,
    ),
    CommandEntry(
        "topics",
        "deploy.cli.topics",
        "Compare Signpost's own topics with their required configuration, and create or alter them.",
        OPERATE,
    ),
    CommandEntry(
        "positions",
        "deploy.cli.positions",
        "Show where sources and jobs are read from, and set positions that were lost.",
        OPERATE,
    ),
    CommandEntry(
        "settings", "deploy.cli.settings", "Show all settings and where each comes from, with secrets masked.", OPERATE
    ),
    CommandEntry(
        "doctor",
        "deploy.cli.doctor",
        "Check an installation and the services that it uses; show what is wrong, where, and what to do.",
        OPERATE,
    ),
    CommandEntry(
        "lag",
        "deploy.cli.lag",
        "Show what waits in each source and delay topic, since when, and which process reads it.",
        OPERATE,
    ),
    CommandEntry(
        "endpoints",
        "deploy.cli.endpoints",
        "Show the worst endpoints: how and since when they fail, what is in flight and waiting, and what limits them.",
        OPERATE,
    ),
    CommandEntry(
        "explain",
        "deploy.cli.explain",
        "Explain what happened to an event: who took it, who did not and why, each attempt, and the outcome.",
        OPERATE,
    ),
    CommandEntry(
        "tail",
        "deploy.cli.tail",
        "Show the records of any topic, decoded: time, partition:offset, key and fields. Secrets are masked.",
        OPERATE,
    ),
    CommandEntry(
        "dead-letters",
        "deploy.cli.dead_letters",
        "Show and retry dead letters: jobs that ran out of attempts, and unreadable records.",
        OPERATE,
    ),
)
