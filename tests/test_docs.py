"""What README and docs say is held against the code: trees, commands, variables, links, tables."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from db.describe import describe
from flows.cli.app import app
from tasks.settings.settings import BESIDE_SETTINGS, PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks: language and content."""
    yield from re.findall(r"(?ms)^```(\w*)[^\n]*\n(.*?)^```", text)


# ------------------------------------------------------------------ the tree


def tree() -> dict[str, list[str]]:
    """Folder (with a slash, '' for the root) -> what the README's tree shows in it."""
    shown: dict[str, list[str]] = {}
    block = next(content for _, content in blocks(page("README.md")) if content.startswith("flows/"))
    above: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        above = [*above[:depth], name]
        shown.setdefault("".join(above[:depth]), []).append(name)
    return shown


def ignored() -> list[str]:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return [".git", *(line.strip("/") for line in lines if line and not line.startswith("#"))]


def test_the_readme_tree_is_the_real_tree() -> None:
    shown = tree()
    for folder, names in shown.items():
        for name in names:
            path = ROOT / folder / name
            assert path.is_dir() if name.endswith("/") else path.is_file(), f"README shows {folder}{name}"
    real = {
        path.name + ("/" if path.is_dir() else "")
        for path in ROOT.iterdir()
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored())
    }
    assert real == set(shown[""])
    for room in ("tasks/", "tasks/ml/"):  # where every folder is a subject, none is left out
        folders = {f"{path.parent.name}/" for path in (ROOT / room).glob("*/__init__.py")}
        assert folders == {name for name in shown[room] if name.endswith("/")}


# ------------------------------------------------------------------ commands


def commands(text: str) -> Iterator[str]:
    """Every `laudos ...`, `make ...` and `python -m ...` in a page's shell blocks and inline code."""
    for language, content in blocks(text):
        if language in {"sh", "console", "bash"}:
            yield from content.replace("\\\n", " ").splitlines()
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    yield from re.findall(r"`([^`\n]+)`", prose)


def problem(line: str) -> str | None:
    """Why a command line cannot be run as it stands; None where it can, or is none of ours."""
    line = re.sub(r"\s+# .*$", "", line)
    words = shlex.split(line) if line.count("'") % 2 == 0 and line.count('"') % 2 == 0 else line.split()
    while words and (words[0] in {"$", "&&"} or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
        words = words[1:]
    if not words:
        return None
    program = words[0].rsplit("/", 1)[-1]
    if program == "make":
        targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
        asked = {word for word in words[1:] if "=" not in word}
        return None if asked <= targets else f"no such target in {line!r}"
    if program == "python" and words[1:2] == ["-m"]:
        found = importlib.util.find_spec(words[2]) is not None
        return None if found or words[2].startswith("benchmarks") else f"no such module in {line!r}"
    return _problem_of_laudos(words[1:], line) if program == "laudos" else None


def _problem_of_laudos(words: list[str], line: str) -> str | None:
    command: Any = typer.main.get_command(app)
    options, positionals = _parameters(command)
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            name = word.split("=")[0]
            if name not in options:
                return f"no option {name} in {line!r}"
            if not options[name] and "=" not in word and words:
                words.pop(0)  # its value
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return f"no command {word!r} in {line!r}"
            command = command.commands[word]
            options, positionals = _parameters(command)
        elif positionals == 0:
            return f"an argument too many in {line!r}"
        else:
            positionals -= 1
    return None


def _parameters(command: Any) -> tuple[dict[str, bool], int]:
    """Option -> whether it is a flag; and how many arguments there may be."""
    options = {"--help": True}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            options |= dict.fromkeys(parameter.opts, parameter.is_flag)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    return options, sum(100 if one.nargs == -1 else one.nargs for one in arguments)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_shown_exists_with_these_options(name: str) -> None:
    assert [told for line in commands(page(name)) if (told := problem(line))] == []


@pytest.mark.parametrize(
    "line",
    [
        "laudos nightli",
        "laudos predict --cvs in.csv",
        "laudos models show 3 4",
        "laudos db downgrad",
        "make demos",
        "python -m db.descripe",
        "LAUDOS_CONFIG=a.toml .venv/bin/laudos --konfig b status",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    assert problem(line)


def test_a_cron_line_that_is_shown_hands_the_secrets_of_a_file_to_its_commands(tmp_path: Path) -> None:
    secrets, stub = tmp_path / "secrets", tmp_path / "laudos"
    secrets.write_text("HIS_PASSWORD='two words'\n", encoding="utf-8")
    stub.write_text('#!/bin/sh\necho "$1 $HIS_PASSWORD"\n', encoding="utf-8")
    stub.chmod(0o700)
    lines = re.findall(r"(?m)^(?:[\d*]+ ){2}\* \* \* +laudos  (.*)$", page("docs/operating.md"))
    told = []
    for line in lines:
        command = line.replace("/etc/laudos/secrets", str(secrets)).replace(r"\%", "%")
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        told += subprocess.check_output(["/bin/sh", "-c", command], env=path, text=True).splitlines()
    words = ["ingest", "classify", "monitor", "nightly", "db"]
    assert told == [f"{word} two words" for word in words]


def test_every_command_that_an_error_recommends_exists() -> None:
    recommended = {
        (command, path.name)
        for room in ("flows", "tasks", "db", "deployments")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for command in re.findall(r"(?:\"|Example: |  )(laudos [a-z][^\"{]*?)(?=\"|  |$)", node.value)
    }
    assert len(recommended) > 20
    assert [told for command, _ in sorted(recommended) if (told := problem(command) or lacks(command))] == []


def lacks(line: str) -> str | None:
    """What a recommended command lacks; of one that ends in a blank the rest is filled in when it is told."""
    command: Any = typer.main.get_command(app)
    words = [word for word in line.split()[1:] if not word.startswith("-")]
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") and not command.invoke_without_command:
        return f"only a group: {line!r}"
    asked = [one for one in command.params if one.param_type_name == "argument" and one.required]
    return (
        f"an argument is missing in {line!r}" if len(words) < len(asked) and line == line.rstrip() else None
    )


@pytest.mark.parametrize("line", ["laudos models", "laudos encoders fetch", "laudos models approve"])
def test_a_command_that_lacks_something_would_be_found(line: str) -> None:
    assert lacks(line)


# ------------------------------------------------------------------ variables, links, tables


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_of_ours_that_is_shown_exists(name: str) -> None:
    shown = set(re.findall(rf"(?<!\$\{{)\b({PREFIX}[A-Z][A-Z_]*)\b", page(name)))
    known = BESIDE_SETTINGS | {f"{PREFIX}{key.upper()}" for key in Settings.model_fields}
    assert {variable.split("__")[0] for variable in shown} <= known


def slug(heading: str) -> str:
    """GitHub's anchor for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", NAMES)
def test_every_internal_link_leads_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```", "", page(name))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        headings = re.findall(r"(?m)^#+ (.+)$", path.read_text("utf-8")) if path.is_file() else []
        if not path.exists() or (anchor and anchor not in map(slug, headings)):
            broken.append(target)
    assert not broken


def test_the_page_of_tables_is_what_the_tables_say() -> None:
    assert page("docs/tables.md") == describe(), "run: python -m db.describe > docs/tables.md"


def test_every_table_explains_itself() -> None:
    assert "None." not in describe()


def test_the_readme_says_what_the_figures_are_not() -> None:
    told = " ".join(page("README.md").replace("> ", "").split())
    assert (
        "WDBC holds nuclear measurements of fine-needle aspirates, not reports. Figures on text generated "
        "from it show that the pipeline works; they are no clinical validation." in told
    )
