"""Everything on this machine: a broker if none is given, topics, and all roles as supervised processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its package names no __all__

from consumers.kafka.admin import result
from consumers.kafka.topics import apply
from deploy.config.admin import reachable_admin
from deploy.config.settings_sources import FILE_NAME, Loaded, load
from deploy.config.wanted_topics import wanted_topics
from deploy.dev.broker import Broker, start_broker
from deploy.dev.foreground import interruptible
from deploy.dev.state import locked, remove_up, write_settings, write_up
from deploy.dev.supervisor import Role, Supervisor
from schemas.catalog.errors import Unavailable
from schemas.records.topics import Topic
from schemas.settings.settings import Settings

Say = Callable[[str], None]
READY_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.1
_ASK_BROKER_EVERY_S: Final = 1.0  # of a container this is a question to Docker
_NOWHERE: Final = "broker"  # holds no signpost.toml
_WITHOUT_BROKER: Final = timedelta(seconds=5)  # nothing that is drained can be committed
ASK_S: Final = 10.0


class Stack:
    """A broker and all roles, running."""

    def __init__(self, state: Path, broker: Broker, supervisor: Supervisor, settings: Settings) -> None:
        self.state = state
        self.broker = broker
        self.supervisor = supervisor
        self.settings = settings
        self._published = False
        self._ask_broker_s = 0.0

    @property
    def addresses(self) -> dict[str, str]:
        """Return where each role serves its status, by name."""
        return {role.name: role.address for role in self.supervisor.roles}

    def publish(self) -> None:
        """Write `up.json`."""
        write_up(self.state, self.broker.bootstrap_servers, self.supervisor.pids, self.addresses)
        self._published = True

    def wait_ready(self, stopping: Callable[[], bool]) -> bool:
        """Wait until all roles are ready, then publish; False if told to stop. Unavailable after a minute."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.supervisor.ready:
            if stopping():
                return False
            if time.monotonic() > deadline:
                raise Unavailable(f"the roles are not ready after {READY_WITHIN_S:.0f} s; see {self.state / 'logs'}")
            self.watch()
            self.supervisor.give_up()
            time.sleep(_LOOK_EVERY_S)
        self.publish()
        return True

    def watch(self) -> None:
        """Restart what has died; Unavailable if the broker has."""
        if self.supervisor.watch() and self._published:
            self.publish()
        if time.monotonic() < self._ask_broker_s:
            return
        self._ask_broker_s = time.monotonic() + _ASK_BROKER_EVERY_S
        if not self.broker.is_alive():
            raise Unavailable(
                f"the broker at {self.broker.bootstrap_servers} has ended by itself, and all else with it; "
                f"`signpost up` starts it again with its data; the end of its log:\n{self.broker.log_tail()}"
            )

    def run(self, stopping: Callable[[], bool]) -> None:
        """Keep everything running until told to stop."""
        while not stopping():
            self.watch()
            time.sleep(_LOOK_EVERY_S)


def settings_without(state: Path, config: Path | None) -> Loaded:
    """Return the settings that hold apart from the file that an earlier `up` wrote into the state folder."""
    return load(state / _NOWHERE, config, without=state / FILE_NAME)


@contextlib.contextmanager
def running(
    state: Path,
    config: Path | None,
    roles: list[Role],
    say: Say,
    *,
    extra: Mapping[str, Any] | None = None,
    keep: bool = True,
) -> Iterator[Stack]:
    """Start all there is and drain it at the end; the roles may not be ready yet when the body begins.

    `extra` are settings of this stack that count more than all others. Without `keep` a broker that is started here
    keeps no data. KeyboardInterrupt: SIGTERM or Ctrl-C came before the roles were started.
    """
    with contextlib.ExitStack() as exits:
        exits.enter_context(locked(state))
        remove_up(state)  # of an `up` that was killed
        with interruptible():
            given = settings_without(state, config)
            data = state / _NOWHERE if keep else None
            broker = exits.enter_context(start_broker(given.settings.bootstrap_servers, data=data, say=say))
            settings = _prepare(state, config, given, broker, say, extra=dict(extra or {}))
        supervisor = Supervisor(state, config, roles, drain=settings.drain_timeout, say=say, extra=extra)
        try:
            say(f"roles: starting {', '.join(role.name for role in roles)}")
            supervisor.start()
            yield Stack(state, broker, supervisor, settings)
        finally:
            remove_up(state)
            failed = supervisor.stop(None if broker.is_alive() else _WITHOUT_BROKER)
        if failed:
            codes = ", ".join(f"{name}: {code}" for name, code in failed.items())
            raise Unavailable(f"not everything was drained, exit codes are {codes}; see {state / 'logs'}")


def _prepare(
    state: Path, config: Path | None, given: Loaded, broker: Broker, say: Say, *, extra: dict[str, Any]
) -> Settings:
    """Write the state's settings, make the topics, and return the settings that hold now."""
    properties = given.settings.kafka | {"bootstrap.servers": broker.bootstrap_servers}
    admin = reachable_admin(given.settings.model_copy(update={"kafka": properties}))
    brokers = len(admin.list_topics(timeout=ASK_S).brokers)
    if given.origin("replication") == "default":
        extra = {"replication": min(brokers, given.settings.replication)} | extra
    for name in write_settings(state, given, broker.bootstrap_servers, extra):
        say(f"settings: {name} is secret and not written into {state}: give it to other commands as well")
    settings = load(state, config, **extra).settings
    if broker.kind != "given":
        _make_sources(admin, settings, say)
    say("topics: looking at what is there")
    began = time.monotonic()
    changes = apply(
        settings.kafka_properties(),
        admin,
        wanted_topics(settings),
        settings.names,
        begin=lambda made: say(f"topics: making {making(made)}"),
    )
    took = f" in {time.monotonic() - began:.0f} s"
    say(f"topics: {len(changes)} changes made{took}" if changes else "topics: as they have to be")
    return settings


def making(topics: Sequence[Topic]) -> str:
    """Say which topics are being made: that may take many seconds on a busy machine."""
    count, partitions = len(topics), sum(topic.partitions for topic in topics)
    return f"{count} topic{'' if count == 1 else 's'} ({partitions:,} partitions)"


def _make_sources(admin: AdminClient, settings: Settings, say: Say) -> None:
    """Make the topics of the setting `sources` on a broker that is ours: nobody else could have."""
    missing = {source.topic for source in settings.sources} - admin.list_topics(timeout=ASK_S).topics.keys()
    new = [NewTopic(topic, settings.partitions, replication_factor=1) for topic in sorted(missing)]
    for topic, future in (admin.create_topics(new) if new else {}).items():
        result(future, f"create {topic}")
        say(f"topics: the source {topic} made")
