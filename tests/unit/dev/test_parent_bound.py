"""Parent-bound commands end with the process that started them."""

from __future__ import annotations

import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.dev import parent_bound
from tests.support.processes import is_running, python, read_line
from tests.support.waiting import wait_until

PARENT = """
    import signal, subprocess, sys, time
    from datetime import timedelta
    from pathlib import Path
    from deploy.dev import parent_bound
    child = parent_bound.start({command!r}, stdout=subprocess.PIPE, on_parent_death=signal.{sent},
                         grace=timedelta(seconds={grace}), remove={remove}, ask_kernel={ask_kernel})
    child.output.readline()
    print(child.pid, flush=True)
    time.sleep(600)
"""
# Prints a line when it is ready, and records each SIGTERM in a file.
POLITE = "trap 'echo SIGTERM >> {file}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


def parent_of(
    script: str, *, sent: str = "SIGTERM", grace: float = 10, remove: Path | None = None, ask_kernel: bool = True
) -> str:
    folder = f"Path({str(remove)!r})" if remove else "None"
    return PARENT.format(command=["sh", "-c", script], sent=sent, grace=grace, remove=folder, ask_kernel=ask_kernel)


@pytest.mark.parametrize("ask_kernel", [True, False], ids=["kernel and pipe", "pipe alone"])
def test_command_gets_one_sigterm_after_its_parent_is_killed(tmp_path: Path, ask_kernel: bool) -> None:
    """After SIGKILL of the parent, the command gets SIGTERM exactly once, so that it can drain."""
    signals = tmp_path / "signals"
    with python(parent_of(POLITE.format(file=signals), ask_kernel=ask_kernel)) as parent:
        pid = int(read_line(parent))
        parent.kill()

        wait_until(lambda: not is_running(pid), what="the command ends")

    assert signals.read_text() == "SIGTERM\n"


def test_command_of_a_process_with_many_open_files_ends_with_it(tmp_path: Path) -> None:
    """Pipes with numbers from 1,024 on are watched as well."""
    signals = tmp_path / "signals"
    many = "import os; kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]"
    with python(f"    {many}{parent_of(POLITE.format(file=signals), ask_kernel=False)}") as parent:
        pid = int(read_line(parent))
        parent.kill()

        wait_until(lambda: not is_running(pid), what="the command ends")

    assert signals.read_text() == "SIGTERM\n"


def test_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """A command that does not end within the grace period after its parent's death gets SIGKILL."""
    with python(parent_of(STUBBORN, grace=0.2)) as parent:
        pid = int(read_line(parent))
        parent.kill()

        wait_until(lambda: not is_running(pid), what="the command ends")


def test_folder_is_removed_after_the_parent_is_killed(tmp_path: Path) -> None:
    """The folder to remove is gone with its content after the parent was killed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    (folder / "file").write_text("x")
    with python(parent_of(STUBBORN, sent="SIGKILL", remove=folder)) as parent:
        read_line(parent)
        parent.kill()

        wait_until(lambda: not folder.exists(), what="the folder is removed")


def test_folder_stays_if_the_parent_stops_the_command(tmp_path: Path) -> None:
    """A parent that stops the command keeps the folder: it may start the command again."""
    with python(
        f"""
        import subprocess
        from pathlib import Path
        from deploy.dev import parent_bound
        folder = Path({str(tmp_path)!r})
        child = parent_bound.start(["sh", "-c", "echo up; exec sleep 600"], stdout=subprocess.PIPE, remove=folder)
        child.output.readline()
        watcher = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True).stdout
        child.stop()
        print(watcher, flush=True)
        """
    ) as parent:
        watcher = int(read_line(parent))
        parent.wait()

        wait_until(lambda: not is_running(watcher), what="the watcher ends")

    assert tmp_path.exists()


def test_command_outlives_the_thread_that_started_it() -> None:
    """The end of a thread, which the kernel treats as the parent's death, ends no command of that thread."""
    started: list[parent_bound.ChildProcess] = []
    thread = threading.Thread(
        target=lambda: started.append(parent_bound.start(["sh", "-c", STUBBORN], stdout=subprocess.PIPE))
    )
    thread.start()
    thread.join()
    child = started[0]
    try:
        assert child.output is not None
        assert child.output.readline() == b"up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.3)
    finally:
        child.kill()
        if child.output:
            child.output.close()


def test_pid_output_and_exit_code_are_those_of_the_command() -> None:
    """The child process is the command itself: its pid, its output, and its exit code or signal."""
    child = parent_bound.start(["sh", "-c", "echo $$; exit 7"], stdout=subprocess.PIPE)
    assert child.output is not None
    with child.output as output:
        assert int(output.read()) == child.pid
    assert child.wait(10) == 7

    sleeper = parent_bound.start(["sleep", "600"])
    assert sleeper.stop(timedelta(seconds=10)) == -signal.SIGTERM
    assert sleeper.stop() == -signal.SIGTERM  # again: nothing happens


def test_missing_command_exits_with_127() -> None:
    """A command that cannot be run exits at once, as in a shell, and its name is in the output."""
    child = parent_bound.start(["no-such-command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    assert child.output is not None
    with child.output as output:
        assert b"no-such-command" in output.read()
    assert child.wait(10) == 127


def test_several_threads_may_wait_for_one_command() -> None:
    """Threads that kill, poll or wait for a command at the same time get its exit code, and no error."""
    for _ in range(50):
        child = parent_bound.start(["sleep", "600"])
        with ThreadPoolExecutor(8) as threads:
            killed = [threads.submit(child.kill) for _ in range(4)]
            seen = threads.submit(wait_until, lambda child=child: child.poll() is not None, 10.0, "its end")
            waited = [threads.submit(child.wait, 10) for _ in range(4)]
            assert {each.result() for each in killed + waited} == {-signal.SIGKILL}
            assert seen.result()
