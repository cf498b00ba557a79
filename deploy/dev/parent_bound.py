"""Parent-bound child processes: they end when their parent ends, even by SIGKILL.

`start()` runs this file as a script in a fresh interpreter. The script asks Linux for a signal on the parent's death
(PR_SET_PDEATHSIG), forks a watcher, and becomes the command by `exec`, so the command keeps the pid. The watcher waits
for the end of two pipes. Only the parent holds the write end of the first, only the command that of the second:

    parent's pipe ends    the parent has ended: signal the command, kill it after `grace`, delete `remove`
    command's pipe ends   the command has ended: wait until the parent notices (it writes a byte) or ends too

Pipes work on every POSIX system, and the kernel closes them whatever happens to a process. PR_SET_PDEATHSIG is used as
well because it works even if the watcher was killed.

Only the standard library is imported here: the script runs with `-I -S`, which makes it start in a few milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import IO, Final, TypeAlias

_PR_SET_PDEATHSIG: Final = 1
_NOT_STARTED: Final = 127  # exit code of a shell for a command that cannot be run
_GRACE: Final = timedelta(seconds=10)
Stream: TypeAlias = int | IO[bytes] | None


class ChildProcess:
    """A running command that ends with this process. Dropping the object does not end it."""

    def __init__(self, process: subprocess.Popen[bytes], parent_pipe: int) -> None:
        self._process = process
        # Several threads may see the end. The one that pops the descriptor closes it.
        self._parent_pipes = deque([parent_pipe])
        self.pid = process.pid

    @property
    def output(self) -> IO[bytes] | None:
        """The command's standard output if it was started with `stdout=subprocess.PIPE`."""
        return self._process.stdout

    def poll(self) -> int | None:
        """Return the exit code, the negative number of the signal that ended it, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._release_watcher()
        return code

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit code; `subprocess.TimeoutExpired` after `timeout_s` seconds."""
        code = self._process.wait(timeout_s)
        self._release_watcher()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the command has ended."""
        self._process.send_signal(number)

    def stop(self, grace: timedelta = _GRACE) -> int:
        """Send SIGTERM, SIGKILL after `grace`, and return the exit code."""
        self.send_signal(signal.SIGTERM)
        try:
            return self.wait(grace.total_seconds())
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Send SIGKILL and return the exit code."""
        self.send_signal(signal.SIGKILL)
        return self.wait()

    def _release_watcher(self) -> None:
        with contextlib.suppress(IndexError):
            parent_pipe = self._parent_pipes.pop()
            with contextlib.suppress(BrokenPipeError):  # the watcher was killed
                os.write(parent_pipe, b".")
            os.close(parent_pipe)


def exit_text(code: int) -> str:
    """Return how a process ended, from what `poll` returns: `was killed by SIGKILL`, `exited with code 1`."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: Stream = None,
    stderr: Stream = None,
    on_parent_death: signal.Signals = signal.SIGTERM,
    grace: timedelta = _GRACE,
    remove: Path | None = None,
    ask_kernel: bool = True,
) -> ChildProcess:
    """Start `command` in a session of its own, so that Ctrl-C on a terminal reaches only this process.

    When this process dies, the command gets `on_parent_death`, and SIGKILL after `grace`. Then the folder `remove` is
    deleted. `ask_kernel=False` leaves out PR_SET_PDEATHSIG.
    A command that cannot be run ends with exit code 127 and a line on standard error.
    """
    pipe_read, pipe_write = os.pipe()
    options = _options(pipe_read, on_parent_death, grace, remove, ask_kernel=ask_kernel)

    def launch() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *options, "--", *command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[pipe_read],
            start_new_session=True,
        )

    try:
        return ChildProcess(_launcher.run(launch), pipe_write)
    except BaseException:
        os.close(pipe_write)
        raise
    finally:
        os.close(pipe_read)


def _options(
    parent_pipe: int, on_parent_death: signal.Signals, grace: timedelta, remove: Path | None, *, ask_kernel: bool
) -> list[str]:
    """Return the options of the script in the fresh process (see `_main`)."""
    options = ["--parent-pipe", str(parent_pipe), "--parent", str(os.getpid()), "--signal", str(int(on_parent_death))]
    options += ["--grace", str(grace.total_seconds())]
    options += ["--remove", str(remove.absolute())] if remove else []
    return options + (["--ask-kernel"] if ask_kernel else [])


class _Launcher:
    """Starts processes from one thread that lives as long as this process.

    PR_SET_PDEATHSIG fires when the *thread* that forked ends (prctl(2)): a short-lived thread would take the commands
    that it started with it.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._work = queue.SimpleQueue()
        self._owner: int | None = None
        self._lock = threading.Lock()

    def run(self, launch: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # the first time, or after a fork, which copies no thread
                threading.Thread(target=self._loop, name="parent-bound-launcher", daemon=True).start()
                self._owner = os.getpid()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((launch, future))
        return future.result()

    def _loop(self) -> None:
        while True:
            launch, future = self._work.get()
            try:
                future.set_result(launch())
            except BaseException as error:  # the caller raises it
                future.set_exception(error)
            del launch, future  # otherwise the waiting thread keeps the last caller's objects alive


_launcher = _Launcher()


def _main() -> None:
    """Fork the watcher, then become the command. Runs in the fresh process only."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent-pipe", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--remove", type=Path)
    parser.add_argument("--ask-kernel", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    kernel_signals = options.ask_kernel and _signal_on_parent_death(options.signal)
    alive_read, alive_write = os.pipe()
    command_pid = os.getpid()
    if os.fork() == 0:
        os.close(alive_write)
        _watch(options, alive_read, command_pid, kernel_signals)
        os._exit(0)
    os.close(options.parent_pipe)
    os.close(alive_read)
    os.set_inheritable(alive_write, True)
    if os.getppid() != options.parent:  # the parent died before prctl() was called
        sys.exit(_NOT_STARTED)
    try:
        os.execvp(options.command[0], options.command)
    except OSError as error:
        print(f"{options.command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(_NOT_STARTED)


def _signal_on_parent_death(number: int) -> bool:
    """Ask Linux to signal this process when its parent ends; exec keeps that. False if the system cannot do it."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # no libc to load
        return False


def _watch(options: argparse.Namespace, alive: int, command_pid: int, kernel_signals: bool) -> None:
    """Wait for the end of the parent or the command, and act as the module's docstring describes."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the watcher must not keep the command's output open
        os.dup2(quiet, stream)

    if alive not in _ended(options.parent_pipe, alive):
        # With PR_SET_PDEATHSIG the kernel has sent the signal. A second one could mean "do not drain".
        if not kernel_signals:
            _send(command_pid, options.signal)
        if not _ended(alive, within_s=options.grace):
            _send(command_pid, signal.SIGKILL)
            _ended(alive)
    parent_saw_the_end = os.read(options.parent_pipe, 1) != b""
    if options.remove and not parent_saw_the_end:
        _remove(options.remove)


def _ended(*pipes: int, within_s: float | None = None) -> set[int]:
    """Return which of the pipes have ended or can be read, once one of them is; none after `within_s` seconds."""
    with selectors.DefaultSelector() as selector:  # `select` refuses descriptors from 1,024 on
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        return {key.fd for key, _ in selector.select(within_s)}


def _send(command_pid: int, number: int) -> None:
    """Signal the command only while it is the watcher's parent: then no other process can have its pid."""
    if os.getppid() == command_pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(command_pid, number)


def _remove(folder: Path) -> None:
    """Remove a folder. The second try removes files that a dying grandchild wrote during the first."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)


if __name__ == "__main__":
    _main()
