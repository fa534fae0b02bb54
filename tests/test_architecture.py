"""The package's layers: each folder imports only from itself and from those below it, as docs/architecture.md shows.

One row of LAYERS is one folder or the top-level modules of one layer, so a new file in a folder needs no change here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "twelvelead"
PICTURE = ROOT / "docs" / "architecture.md"
LAYERS = [  # from the ground up
    {"errors", "terminal", "files", "console", "recipe", "joined_recipe", "recipes", "settings", "pretrained"},
    {"data"},
    {"formats"},
    {"synthetic"},
    {"preprocessing"},
    {"quality"},
    {"thresholds"},
    {"evaluation"},
    {"plots"},
    {"models"},
    {"inference"},
    {"prediction"},
    {"report"},
    {"export"},
    {"training"},
    {"recalibration"},
    {"experiments"},
    {"preflight"},
    {"commands"},
    {"cli", "actions", "examples"},
    {"__main__"},
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
LONGEST_TEST_NAME = 79


def imports_of(path: Path) -> dict[str, int]:
    """Folders and top-level modules of the package that a file imports, anywhere in it, with the line of the import."""
    lines: dict[str, int] = {}
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = [*parts[: -node.level]] if node.level else []
            module = [*base, *(node.module or "").split(".")]
            if not node.level:
                if module[0] != "twelvelead":
                    continue
                module = module[1:]
            module = [part for part in module if part]
            names = module[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("twelvelead.")]
        else:
            continue
        lines |= {name: node.lineno for name in names if name != "__version__"}
    return lines


def test_every_folder_and_top_level_module_has_a_layer():
    present = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    present.discard("__init__")
    assert present - set(LAYER) == set(), "add these to LAYERS in this file and to docs/architecture.md"
    assert set(LAYER) - present == set(), "LAYERS in this file names what does not exist"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_imports_from_a_layer_above_its_own(path):
    layer = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if layer == "__init__":
        return  # test_the_package_itself_imports_nothing_of_its_own
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}, which is above {layer}"
        for name, line in imports_of(path).items()
        if LAYER[name] > LAYER[layer]
    ]
    assert not upward, "\n".join(["a folder imports only from the folders below it:", *upward])


def test_the_package_itself_imports_nothing_of_its_own():
    """twelvelead/__init__.py is imported by everything, so at run time it may import nothing before it is asked to."""
    body = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports for alias in node.names}
    assert names == {"annotations", "importlib", "TYPE_CHECKING", "Any"}
    code = "import twelvelead, sys; print([name for name in sys.modules if name.startswith('twelvelead.')])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_the_picture_names_every_folder_and_its_modules():
    """docs/architecture.md shows each folder as `name/`, followed by its modules and folders up to the next one."""
    text = PICTURE.read_text(encoding="utf-8")
    folders = [name for name in LAYER if (PACKAGE / name).is_dir()]
    heads = list(re.finditer(rf"^ *({'|'.join(folders)})/", text, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    sections = {head.group(1): text[head.start() : end] for head, end in zip(heads, ends)}
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        folder, *below = path.relative_to(PACKAGE).parts
        section = sections.get(folder, "") if below else text
        name = below[0] + "/" if len(below) > 1 else path.name  # of a folder within a folder only its name
        if path.name != "__init__.py" and not re.search(rf"\b{re.escape(name)}", section):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, "\n".join(["docs/architecture.md does not show these in the picture of the package:", *missing])


def test_only_one_place_knows_of_models_cpu():
    """What is fast on a CPU can be deleted: only network.accelerated imports it, by one name, and inside a function."""
    folder = PACKAGE / "models" / "cpu"
    users = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.parent.glob("*.py")]:
        if not path.is_relative_to(folder):
            names = imports_of_models_cpu(path)
            users |= {path.relative_to(PACKAGE.parent).as_posix(): names} if names else {}
    assert users == {"twelvelead/models/network.py": ["accelerate"]}


def imports_of_models_cpu(path: Path) -> list[str]:
    """Names that a file imports from models/cpu or from a module in it."""
    names = []
    inside = path.relative_to(PACKAGE).parts[:-1] if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = ["twelvelead", *inside][: len(inside) + 2 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                if f"{module}.{alias.name}.".startswith("twelvelead.models.cpu."):
                    names.append(alias.name)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if f"{alias.name}.".startswith("twelvelead.models.cpu.")]
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    "module, heavy",
    [
        ("twelvelead", ("torch", "numpy")),
        ("twelvelead.prediction.command", ("torch", "matplotlib", "wfdb", "pandas", "pydicom", "edfio")),
        ("twelvelead.prediction.model", ("matplotlib", "wfdb", "pandas", "pydicom", "edfio")),
        ("twelvelead.data.recording", ("torch", "scipy", "wfdb", "pandas", "matplotlib")),
        ("evaluate_model", ("torch", "scipy", "wfdb", "pandas", "matplotlib", "joblib")),
        ("twelvelead.training.store", ("torch", "wfdb", "pandas")),
        ("twelvelead.cli", ("torch", "numpy", "wfdb", "pandas", "matplotlib")),
        ("twelvelead.commands", ("torch", "scipy", "wfdb", "pandas", "matplotlib")),
        ("team_code", ("wfdb", "pandas", "matplotlib")),
    ],
)
def test_what_need_not_be_imported_is_not(module, heavy):
    """Start-up time: a worker process, the scorer and a command that fails should not wait for torch."""
    code = f"import {module}, sys; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_the_list_of_recipes_needs_no_heavy_package(tmp_path):
    code = (
        "import sys; from twelvelead.cli import main; assert main(['recipes']) == 0; "
        "print([name for name in ('torch', 'numpy', 'wfdb', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1:] == ["[]"], result.stdout + result.stderr


def test_every_test_has_a_short_name_of_its_own():
    long, repeated = [], []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.is_relative_to(ROOT / "tests" / "organizers"):
            continue
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        long += [f"{path.relative_to(ROOT)}::{name}" for name in names if len(name) > LONGEST_TEST_NAME]
        repeated += [f"{path.relative_to(ROOT)}::{name}" for name in set(names) if names.count(name) > 1]
    assert not long, "\n".join([f"names of more than {LONGEST_TEST_NAME} characters:", *long])
    assert not repeated, "\n".join(["the first of two tests of one name never runs:", *repeated])
