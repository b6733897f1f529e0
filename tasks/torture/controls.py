"""Protections that can be switched off, in a child process of a scenario and nowhere else.

Each function patches the process that calls it. Production code knows no such switch: what is patched
must be there under its name, or the function raises and the scenario with it.
"""

from __future__ import annotations
