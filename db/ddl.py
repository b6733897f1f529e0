"""DDL that SQLAlchemy has no words for: names and texts quoted by us, since no parameter may stand there."""

from __future__ import annotations

from sqlalchemy import Connection, Dialect


def run(c: Connection, *statements: str) -> None:
    """Run statements without parameters, in which % means itself; several at once on PostgreSQL only."""
    if statements:
        c.exec_driver_sql(";\n".join(statements), execution_options={"no_parameters": True})


def literal(text: str) -> str:
    """A text as an SQL string."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def name_in(dialect: Dialect, name: str) -> str:
    """A column's or role's name, in quotes where this database needs them."""
    return dialect.identifier_preparer.quote(name)
