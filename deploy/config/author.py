"""The author of changes by commands, for their audit records."""

from __future__ import annotations

import os
import pwd

from producers.compacted.author import Author


def command_author() -> Author:
    """Return `cli:` and the name of the operating system's user, or the user's number if it has no name."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run under any number
        name = f"uid-{uid}"
    return Author(f"cli:{name}")
