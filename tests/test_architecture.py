"""Each folder of the package imports only from itself and from the folders below it (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "twelvelead"
LAYERS = [  # from the ground up
    {"errors", "files", "recipes", "settings", "console", "terminal"},
    {"data"},
    {"recipe_checks"},
    {"synthetic"},
    {"preprocessing"},
    {"thresholds"},
    {"evaluation"},
    {"plots"},
    {"models"},
    {"inference"},
    {"training"},
    {"experiments"},
    {"preflight"},
    {"cli", "commands", "__main__"},
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_of(path: Path) -> set[str]:
    """First-level modules of the package that a file imports, anywhere in it."""
    found = set()
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = parts[: -node.level] if node.level else ()
            module = [*base, *(node.module or "").split(".")] if node.level else (node.module or "").split(".")
            if not node.level and module[0] != "twelvelead":
                continue
            module = [part for part in (module if node.level else module[1:]) if part]
            found |= {module[0]} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("twelvelead.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_imports_from_a_layer_above_its_own(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    assert own in LAYER, f"{own} has no layer: add it to LAYERS here and to docs/architecture.md"
    above = {name for name in imports_of(path) if LAYER[name] > LAYER[own]}
    assert not above


@pytest.mark.parametrize(
    "module,heavy",
    [
        ("twelvelead.data.recording", ("torch", "scipy", "wfdb", "pandas", "matplotlib")),
        ("evaluate_model", ("torch", "wfdb", "pandas")),
        ("twelvelead.training.store", ("torch", "wfdb", "pandas")),
        ("twelvelead.cli", ("torch", "wfdb", "pandas", "matplotlib")),
        ("team_code", ("wfdb", "pandas", "matplotlib")),
    ],
)
def test_what_need_not_be_imported_is_not(module, heavy):
    """Start-up time: a pool's process, the scorer and a command that fails should not wait for torch."""
    code = f"import {module}, sys; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
