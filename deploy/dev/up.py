"""`signpost up`: a broker if none is given, topics, and all roles as supervised processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its package names no __all__

from consumers.kafka.admin import TIMEOUT_S, metadata_of, result
from consumers.kafka.topics import apply
from deploy.config.admin import reachable_admin
from deploy.config.drain import check_drain_timeout
from deploy.config.sealing_key import sealer_of
from deploy.config.senders import senders_of
from deploy.config.settings_sources import DEFAULT, FILE_NAME, Loaded, load
from deploy.config.wanted_topics import wanted_topics
from deploy.dev.addresses import HIGHEST_PORT, is_free, join, split
from deploy.dev.broker import Broker, start_broker
from deploy.dev.broker_guard import BrokerGuard
from deploy.dev.foreground import interruptible
from deploy.dev.jars import OnProgress
from deploy.dev.kafka import free_port
from deploy.dev.parent_bound import exit_text
from deploy.dev.state import BROKER_FOLDER, locked, remove_up, write_settings, write_up
from deploy.dev.supervisor import RoleProcess, Supervisor
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.records.topics import Topic
from schemas.settings.settings import Settings

READY_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.1
_GRACE_WITHOUT_BROKER: Final = timedelta(seconds=5)  # roles cannot commit what they drain


class Stack:
    """A broker and all roles, running."""

    def __init__(
        self, state: Path, broker: Broker, guard: BrokerGuard, supervisor: Supervisor, settings: Settings
    ) -> None:
        self.state = state
        self.broker = broker
        self._guard = guard
        self.supervisor = supervisor
        self.settings = settings
        self._published = False

    @property
    def addresses(self) -> dict[str, str]:
        """The status URL of each role, by name."""
        return {role.name: role.address for role in self.supervisor.roles}

    def publish(self) -> None:
        """Write `up.json`."""
        write_up(self.state, self.broker.bootstrap_servers, self.supervisor.pids, self.addresses)
        self._published = True

    def wait_ready(self, stopping: Callable[[], bool]) -> bool:
        """Wait until all roles are ready, then publish; False if `stopping`. Unavailable after a minute."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.supervisor.ready:
            if stopping():
                return False
            if time.monotonic() > deadline:
                raise Unavailable(f"the roles are not ready after {READY_WITHIN_S:.0f} s; see {self.state / 'logs'}")
            self.watch()
            self.supervisor.check_start()
            time.sleep(_POLL_S)
        self.publish()
        return True

    def watch(self) -> None:
        """Restart roles and the broker if they died; Unavailable if the broker died too often in a row."""
        if self.supervisor.watch() and self._published:
            self.publish()
        self._guard.watch()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Keep everything running until `stopping`."""
        while not stopping():
            self.watch()
            time.sleep(_POLL_S)


def settings_without(state: Path, config: Path | None) -> Loaded:
    """Return the settings without the file that an earlier `up` wrote into the state folder."""
    no_settings = state / BROKER_FOLDER  # a folder without a signpost.toml
    return load(no_settings, config, without=state / FILE_NAME)


def choose_addresses(roles: Sequence[RoleProcess], given: Loaded) -> dict[str, str]:
    """Give each role the address of its status server; return router_listen and deliver_listen as they are now.

    The first process of a role listens where its setting says. The ports of further ones are counted up from there,
    past those that another process here has. A port that a setting gives has to be free: InvalidInput if it is not. The
    default ports may be taken, by another `signpost up` for example; then they are counted up as well.
    """
    chosen: dict[str, str] = {}
    taken: set[int] = set()
    for role in sorted(roles, key=lambda one: one.instance):  # the first of each role first
        name = f"{role.kind}_listen"
        host, port = split(getattr(given.settings, name))
        is_given = given.origin(name) != DEFAULT
        while port and (port in taken or (not is_given and not is_free(port, host))):
            port += 1
        if port > HIGHEST_PORT or (port and not is_free(port, host)):
            raise InvalidInput(f"{name}: port {port} of {host}, for {role.name}, is taken; choose another one")
        role.host = host
        role.port = port or free_port()
        role.movable = not is_given or not port
        taken.add(role.port)
        chosen.setdefault(name, join(host, role.port))
    return chosen


@contextlib.contextmanager
def running(
    state: Path,
    config: Path | None,
    roles: list[RoleProcess],
    on_progress: OnProgress,
    *,
    extra: Mapping[str, Any] | None = None,
    keep: bool = True,
    listen: bool = False,
) -> Iterator[Stack]:
    """Start broker and roles, and drain them at the end. The roles may not be ready when the body begins.

    `extra` are settings with the highest precedence. Without `keep`, a broker that is started here deletes its data.
    With `listen`, status servers listen where the settings say, else at any free ports.
    KeyboardInterrupt if SIGTERM or Ctrl-C comes before the roles have started.
    """
    with contextlib.ExitStack() as exits:
        exits.enter_context(locked(state))
        remove_up(state)  # an `up` that was killed leaves it behind
        with interruptible():
            given = settings_without(state, config)
            check_drain_timeout(given.settings, senders_of(given.settings))
            if given.settings.has_sealing_key:
                sealer_of(given.settings)  # reports a key that cannot be used before anything is started
            addresses = choose_addresses(roles, given) if listen else {}
            data = state / BROKER_FOLDER if keep else None
            broker = exits.enter_context(
                start_broker(given.settings.bootstrap_servers, data=data, on_progress=on_progress)
            )
            settings = _prepare(state, config, given, broker, on_progress, extra=dict(extra or {}), addresses=addresses)
        guard = BrokerGuard(broker, on_progress)
        supervisor = Supervisor(
            state, config, roles, drain=settings.drain_timeout, on_progress=on_progress, extra=extra
        )
        try:
            on_progress(f"roles: starting {', '.join(role.name for role in roles)}")
            supervisor.start()
            yield Stack(state, broker, guard, supervisor, settings)
        finally:
            remove_up(state)
            guard.close()
            failed = supervisor.stop(None if broker.is_alive() else _GRACE_WITHOUT_BROKER)
        if failed:
            ends = ", ".join(f"{name} {exit_text(code)}" for name, code in failed.items())
            raise Unavailable(
                f"not everything was drained: {ends}; requests that were open are sent again at the next start, with "
                f"the same ids; see {state / 'logs'}"
            )


def _prepare(
    state: Path,
    config: Path | None,
    given: Loaded,
    broker: Broker,
    on_progress: OnProgress,
    *,
    extra: dict[str, Any],
    addresses: dict[str, str],
) -> Settings:
    """Write the settings of the state folder, create the topics, and return the current settings.

    `addresses` are the settings by which other commands find the status servers.
    """
    properties = given.settings.kafka | {"bootstrap.servers": broker.bootstrap_servers}
    admin = reachable_admin(given.settings.model_copy(update={"kafka": properties}))
    brokers = len(metadata_of(admin).brokers)
    if given.origin("replication") == "default":
        extra = {"replication": min(brokers, given.settings.replication)} | extra
    for name in write_settings(state, given, broker.bootstrap_servers, extra | addresses):
        on_progress(f"settings: {name} is secret and not written into {state}; set it for other commands as well")
    settings = load(state, config, **extra).settings
    if broker.kind != "given":
        _create_sources(admin, settings, on_progress)
    on_progress("topics: checking")
    began_s = time.monotonic()
    changes = apply(
        settings.kafka_properties(),
        admin,
        wanted_topics(settings),
        settings.names,
        begin=lambda topics: on_progress(f"topics: creating {topics_text(topics)}"),
    )
    took = f" in {time.monotonic() - began_s:.0f} s"
    on_progress(f"topics: {len(changes)} changes made{took}" if changes else "topics: up to date")
    return settings


def topics_text(topics: Sequence[Topic]) -> str:
    """Return the number of topics and of their partitions, for people."""
    count, partitions = len(topics), sum(topic.partitions for topic in topics)
    return f"{count} topic{'' if count == 1 else 's'} ({partitions:,} partitions)"


def _create_sources(admin: AdminClient, settings: Settings, on_progress: OnProgress) -> None:
    """Create the topics of the setting `sources` on a broker that was started here: no one else can have done it."""
    missing = {source.topic for source in settings.sources} - metadata_of(admin).topics.keys()
    new = [NewTopic(topic, settings.partitions, replication_factor=1) for topic in sorted(missing)]
    for topic, future in (admin.create_topics(new, request_timeout=TIMEOUT_S) if new else {}).items():
        result(future, f"create {topic}")
        on_progress(f"topics: source {topic} created")
