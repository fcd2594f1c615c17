"""The shape of the house: imports run one way, and only gancli.ops knows the native modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gancli

ROOT = Path(gancli.__file__).parent
LEVELS = {"ops": 0, "nets": 1, "data": 1, "config": 2, "presets": 2, "evaluate": 2, "figures": 2, "train": 2}
LEVELS |= {"theory": 2, "reproduce": 3, "report": 3, "cli": 4}
SHARED = {"config", "presets", "errors", "files", "ranks", "__init__", "__main__"}


def imports(path: Path) -> Iterator[str]:
    """Every module of gancli that a file imports, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gancli"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("gancli"))


MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_one_way(module: Path) -> None:
    if module.parts[0] not in LEVELS:
        assert module.stem in SHARED
        return
    for name in imports(ROOT / module):
        part = name.split(".")[1]
        assert LEVELS.get(part, 0) <= LEVELS[module.parts[0]], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_operations_know_the_native_modules(module: Path) -> None:
    native = [name for name in imports(ROOT / module) if name in ("gancli._cpu", "gancli._cuda")]
    assert not native or module.parts[0] == "ops"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_ranks_know_how_processes_talk(module: Path) -> None:
    assert "torch.distributed" not in (ROOT / module).read_text(encoding="utf-8") or module == Path("ranks.py")
