"""The house rules that a reader could break without noticing, held by walking the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("flows", "tasks", "db", "deployments")
# room -> what it may import of ours; tasks.ml is a room of its own
ARROWS = {
    "flows": {"flows", "tasks"},
    "deployments": {"deployments", "flows", "tasks"},
    "tasks": {"tasks", "tasks.ml", "db"},
    "tasks.ml": {"tasks.ml"},
    "db": {"db"},
}
# the heavy, the outside and the databases have their places too
ONLY_IN = {
    "prefect": {"flows", "deployments", "tasks"},
    "sqlalchemy": {"db", "tasks"},
    "alembic": {"db"},
    "torch": {"tasks.ml"},
    "transformers": {"tasks", "tasks.ml"},
    "sklearn": {"tasks.ml"},
    "distributed": {"tasks"},
}


def room_of(module: str) -> str:
    parts = module.split(".")
    return "tasks.ml" if parts[:2] == ["tasks", "ml"] else parts[0]


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, module: str) -> Iterator[tuple[str, int]]:
    """Every module a source imports, wherever the import stands, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            package = module.split(".")[: -node.level]
            yield ".".join([*package, node.module or ""]), node.lineno
        elif isinstance(node, ast.ImportFrom):
            # `from tasks import ml` reaches tasks.ml as well
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def wrong_arrows(source: str, module: str) -> list[str]:
    room, wrong = room_of(module), []
    for imported, line in imports(source, module):
        target, top = room_of(imported), imported.split(".")[0]
        if top in ROOMS and target not in ARROWS[room]:
            wrong.append(f"{module}:{line} imports {imported}")
        if top in ONLY_IN and room not in ONLY_IN[top]:
            wrong.append(f"{module}:{line} imports {imported}, which belongs in {sorted(ONLY_IN[top])}")
    return wrong


def test_every_import_follows_the_arrows() -> None:
    wrong = [line for path in sources() for line in wrong_arrows(path.read_text("utf-8"), module_of(path))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("flows.ingest", "from db.reports import take_in"),
        ("flows.retrain", "def f():\n    from tasks.ml import head"),
        ("tasks.ml.network.head", "from tasks.settings.settings import Settings"),
        ("tasks.ml.network.head", "import prefect.runtime"),
        ("tasks.ml.network.head", "from ... import settings"),
        ("db.reports", "import tasks.intake.ingest"),
        ("db.reports", "import torch"),
    ],
)
def test_a_wrong_arrow_is_found_wherever_it_hides(module: str, source: str) -> None:
    assert wrong_arrows(source, module)


def folder_of(module: str, room: str) -> str | None:
    """The folder of a room that a module lies in, `room` for what lies on top; None for another room."""
    parts, depth = module.split("."), len(room.split("."))
    if ".".join(parts[:depth]) != room or (room == "tasks" and parts[1:2] == ["ml"]):
        return None
    return ".".join(parts[: depth + 1]) if (ROOT / "/".join(parts[: depth + 1])).is_dir() else room


def needs(room: str, written: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Folder of a room -> the others that it imports, of sources as (text, module)."""
    found: dict[str, set[str]] = {}
    for source, module in written:
        here = folder_of(module, room)
        if here is not None:
            there = {folder_of(imported, room) for imported, _ in imports(source, module)}
            found.setdefault(here, set()).update(there - {None, here})
    return found


@pytest.mark.parametrize("room", ["tasks", "tasks.ml"])
def test_no_two_folders_need_each_other(room: str) -> None:
    """Of two subjects one can be read, and changed, without the other."""
    written = [(path.read_text("utf-8"), module_of(path)) for path in sources()]
    order = TopologicalSorter(needs(room, written)).static_order()
    assert len(list(order)) > 10
    back = ("from tasks.scoring.classify import cut_job", "tasks.settings.values")
    if room == "tasks":
        with pytest.raises(CycleError):
            list(TopologicalSorter(needs(room, [*written, back])).static_order())


def test_no_file_in_flows_bears_the_name_of_an_installed_module() -> None:
    # Prefect puts flows/ at the front of sys.path: a flows/datasets.py would hide the library
    taken = set(packages_distributions()) | set(sys.stdlib_module_names)
    ours = {path.stem for path in (ROOT / "flows").iterdir()} - {"__init__", "__pycache__"}
    assert not ours & taken


def reads_environment(source: str) -> bool:
    """Whether a source looks into the environment; what a child process will read is set without a look."""
    nodes = list(ast.walk(ast.parse(source)))
    set_only = {
        *(node.target for node in nodes if isinstance(node, ast.AugAssign)),
        *(node.left for node in nodes if isinstance(node, ast.BinOp)),
        *(
            node.value
            for node in nodes
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
        ),
    }
    return any(
        isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and node not in set_only
        for node in nodes
    )


def test_only_the_settings_read_the_environment() -> None:
    readers = {module_of(path) for path in sources() if reads_environment(path.read_text("utf-8"))}
    assert readers <= {"tasks.settings.settings"}
    assert reads_environment("import os\nhome = os.environ['HOME']")
    assert not reads_environment("import os\nos.environ |= {'A': 'b'}\nos.environ['A'] = 'c'")
    assert not reads_environment("import os\nrun(env=os.environ | {'A': 'b'})")


# spelt in two halves, so that this file does not find itself
FORBIDDEN = {
    "trust_remote" + "_code=True": "code from a hub would run here",
    "import pi" + "ckle": "a pickle runs code when it is read",
    "import job" + "lib": "a pickle by another name",
    "torch" + ".load(": "a pickle by another name; safetensors only",
    "weights_only" + "=False": "a pickle by another name; safetensors only",
    "shell" + "=True": "no command line is ever put together",
}


@pytest.mark.parametrize("phrase", FORBIDDEN)
def test_nothing_that_runs_foreign_code_is_anywhere(phrase: str) -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in (*ROOMS, "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if phrase in path.read_text("utf-8")
    ]
    assert not found, FORBIDDEN[phrase]


def test_help_is_answered_without_loading_anything_heavy() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['laudos', '--help']\n"
        "from flows.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'prefect', 'torch', 'transformers', 'sklearn', 'pandas', 'datasets', 'sqlalchemy'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "loaded: []" in told.stdout


@pytest.mark.parametrize(
    "modules",
    [
        "tasks.models.models, tasks.promotion.approval",
        "tasks.night.status, tasks.upkeep.doctor, flows.cli.words",
        "flows.cli.quarantine_words",
        "tasks.models.encoders",
    ],
)
def test_who_goes_back_to_a_model_or_asks_how_things_stand_waits_for_no_network_library(modules: str) -> None:
    """It is to take a second, and torch with its friends takes several to be imported."""
    program = f"import sys, {modules}; print({{'torch', 'transformers', 'prefect'}} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert told.stdout.strip() == "set()"
