"""Blocking calls in threads of their own."""

from __future__ import annotations

from tests.support.processes import python, read_line


def test_a_call_that_has_not_come_back_is_known() -> None:
    """Whoever ends the process can ask whether a call is still under way, which Python's own end would not survive."""
    with python(
        """
        import threading
        from consumers.runtime.background import calls_under_way, in_thread
        before, come_back = calls_under_way(), threading.Event()
        call = in_thread("waits", come_back.wait)
        during = calls_under_way()
        come_back.set()
        call.result()
        [t.join() for t in threading.enumerate() if t.name == "waits"]
        print(before, during, calls_under_way(), flush=True)
        """
    ) as process:
        assert read_line(process) == "False True False"
