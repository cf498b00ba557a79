"""A real PostgreSQL server for tests: its own folder, its own port on 127.0.0.1, ended with the test process."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg

from deploy.dev import parent_bound
from tests.support.roles import free_port
from tests.support.waiting import wait_until

# Debian's packages keep the server's programs out of the PATH.
_DEBIAN: Final = Path("/usr/lib/postgresql")
_UNPRIVILEGED: Final = ("postgres", "nobody")


def programs() -> Path | None:
    """Return the folder with `initdb` and `postgres` of the newest installed version; None if there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class PostgresServer:
    """A running server. `url` is a database of it; the server can be stopped, killed and started again."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self._bin = bin_folder
        self._folder = folder
        self._data = folder / "data"
        self._as_user = _unprivileged(folder)
        self.port = free_port()
        self._process: parent_bound.ChildProcess | None = None
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-U",
            "signpost",
        )
        self.start()

    @property
    def url(self) -> str:
        """The URL of the database `postgres`."""
        return f"postgresql://signpost@127.0.0.1:{self.port}/postgres"

    def database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url.replace("/postgres", f"/{name}")

    def new_database(self) -> str:
        """Create an empty database with a name of its own and return its URL."""
        return self.database(f"test_{uuid4().hex[:12]}")

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self._folder), "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = parent_bound.start(
                [*self._as_user, str(self._bin / "postgres"), "-D", str(self._data), *options],
                stdout=log,
                stderr=log,
                on_parent_death=signal.SIGQUIT,
                grace=timedelta(seconds=5),
            )
        wait_until(self._accepts, what="PostgreSQL accepts connections")

    def kill(self) -> None:
        """End the server at once: SIGQUIT, after which it recovers from its log at the next start."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([*self._as_user, str(self._bin / program), *arguments], capture_output=True, check=True)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server for tests; its data is removed at the end."""
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="signpost-pg-"))
    try:
        server = PostgresServer(bin_folder, folder)
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> list[str]:
    """Return the command that changes to a user without privileges, who gets the folder: root may not run a server."""
    if os.getuid() != 0:
        return []
    user = next(entry for name in _UNPRIVILEGED if (entry := _user(name)) is not None)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
