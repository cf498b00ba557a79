"""The progress bar of commands that read topics."""

from __future__ import annotations

import io

import pytest

from deploy.cli import scanning


class Screen(io.StringIO):
    """A terminal or a file."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "after_s", "is_shown"), [(True, 2.0, True), (True, 0.5, False), (False, 2.0, False)]
)
def test_progress_is_shown_on_a_terminal_after_a_second(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, after_s: float, is_shown: bool
) -> None:
    """Quick commands show no bar, and neither does output into a file."""
    screen, now_s = Screen(is_terminal=is_terminal), [10.0]
    monkeypatch.setattr("sys.stderr", screen)
    bar = scanning.Bar(lambda: now_s[0])
    bar(1, 10)
    assert screen.getvalue() == ""
    now_s[0] += after_s
    bar(5, 10)
    bar.close()
    assert ("reading" in screen.getvalue()) is is_shown
    bar.close()
