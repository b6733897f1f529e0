"""Who is at the keyboard, for the audit."""

from __future__ import annotations

import getpass
import os


def person() -> str:
    """The user's login; in a container the user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
