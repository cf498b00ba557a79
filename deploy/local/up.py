"""Everything on this machine: a broker if none is given, topics, and all roles as supervised processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from consumers.runtime.topics import apply
from deploy.local.broker import Broker, start_broker
from deploy.local.state import locked, remove_up, write_settings, write_up
from deploy.local.supervisor import Role, Supervisor
from deploy.settings import Loaded, load
from deploy.wanted_topics import wanted_topics
from schemas.errors import Unavailable

Say = Callable[[str], None]
READY_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.1
_NOWHERE: Final = "broker"  # holds no signpost.toml


class Stack:
    """A broker and all roles, running."""

    def __init__(self, state: Path, broker: Broker, supervisor: Supervisor) -> None:
        self.state = state
        self.broker = broker
        self.supervisor = supervisor
        self._published = False

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
            self.supervisor.watch()
            time.sleep(_LOOK_EVERY_S)
        self.publish()
        return True

    def watch(self) -> None:
        """Restart what has died; Unavailable if the broker has."""
        if self.supervisor.watch() and self._published:
            self.publish()
        if not self.broker.is_alive():
            raise Unavailable("the broker has ended")

    def run(self, stopping: Callable[[], bool]) -> None:
        """Keep everything running until told to stop."""
        while not stopping():
            self.watch()
            time.sleep(_LOOK_EVERY_S)


def settings_without(state: Path, config: Path | None) -> Loaded:
    """Return the settings that hold apart from the file that an earlier `up` wrote into the state folder."""
    return load(state / _NOWHERE, config)


@contextlib.contextmanager
def running(
    state: Path, config: Path | None, roles: list[Role], say: Say, extra: Mapping[str, Any] | None = None
) -> Iterator[Stack]:
    """Start all there is and drain it at the end; the roles may not be ready yet when the body begins.

    `extra` are settings that hold for this stack alone.
    """
    with locked(state):
        given = settings_without(state, config)
        data = state / _NOWHERE
        with start_broker(given.settings.bootstrap_servers, data=data, say=say) as broker:
            write_settings(state, given, broker.bootstrap_servers, extra=_local(broker) | dict(extra or {}))
            settings = load(state, config).settings
            admin = AdminClient({**settings.kafka_properties()})
            changes = apply(admin, wanted_topics(settings), settings.names)
            say(f"topics: {len(changes)} changes made" if changes else "topics: as they have to be")
            supervisor = Supervisor(state, config, roles, drain=settings.drain_timeout, say=say)
            stack = Stack(state, broker, supervisor)
            try:
                supervisor.start()
                yield stack
            finally:
                remove_up(state)
                failed = supervisor.stop()
            if failed:
                raise Unavailable(
                    "; ".join(f"{name} ended with exit code {code}" for name, code in failed.items())
                    + f"; see {state / 'logs'}"
                )


def _local(broker: Broker) -> dict[str, Any]:
    """Return what is different about a broker of this machine: it is alone."""
    return {} if broker.kind == "given" else {"replication": 1}
