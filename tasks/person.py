"""Who is at the keyboard, or said to be, for the audit."""

from __future__ import annotations

import getpass
import os

from db.errors import ConfigurationError

NAME_MAX, BECAUSE_MAX = 64, 500
AUTOMATIC = "retrain"  # who decides where no person does
STEPS = {AUTOMATIC, "distill", "classify", "laudos"}  # who acts where no person does


def person() -> str:
    """The user's login; in a container the user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def named(name: str | None) -> str:
    """The name a person gave, else the login. Raises ConfigurationError for what the audit cannot keep."""
    if name is None:
        return person()
    name = name.strip()
    if not name or len(name) > NAME_MAX or not name.isprintable() or name.casefold() in STEPS:
        raise ConfigurationError(
            f"a person's name has 1 to {NAME_MAX} characters, and is none of {', '.join(sorted(STEPS))}"
        )
    return name


def said_why(because: str) -> str:
    """The reason a person gave. Raises ConfigurationError for none, or for more than the audit keeps."""
    because = because.strip()
    if not because or len(because) > BECAUSE_MAX:
        raise ConfigurationError(f"say why in 1 to {BECAUSE_MAX} characters, without anything of a patient")
    return because
