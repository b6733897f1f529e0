"""How a control switches a protection off: in the process that calls it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from sqlalchemy import Connection


def replace(module: ModuleType | type, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(what stands there)` in its place. Raises AttributeError where nothing of that name is."""
    setattr(module, name, make(getattr(module, name)))


def commit_half(c: Connection) -> None:
    """End the transaction under way behind SQLAlchemy's back, and begin another."""
    c.exec_driver_sql("COMMIT")
    if c.dialect.name == "sqlite":
        c.exec_driver_sql("BEGIN IMMEDIATE")


def after_a_commit(write: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but what its transaction wrote before it is committed already."""

    def committed_first(c: Connection, *args: Any, **more: Any) -> Any:
        commit_half(c)
        return write(c, *args, **more)

    return committed_first
