"""The author of the changes of a command."""

from __future__ import annotations

import os
import pwd

import pytest

from deploy.config.author import command_author


def test_author_is_the_user_of_the_operating_system() -> None:
    """The name is that of the user of the process, whatever the environment says, and there is no request."""
    author = command_author()
    assert (author.name, author.request_id) == (f"cli:{pwd.getpwuid(os.geteuid()).pw_name}", None)


def test_user_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that no user has."""
    unknown = next(number for number in range(50_000, 60_000) if number not in {one.pw_uid for one in pwd.getpwall()})
    monkeypatch.setattr(os, "geteuid", lambda: unknown)
    assert command_author().name == f"cli:uid-{unknown}"
