"""A model folder that was changed is refused in one line that names the file, or gives the same outputs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made import with_context
from safetensors.torch import load_file, save_file

from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference.classify import classify
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.inference.model_files import manifest_of, sealed
from twelvelead.preprocessing.prepare import prepare

FIRST, SECOND = "member_00.safetensors", "member_01.safetensors"


@pytest.fixture
def copy_of(tiny_model, tmp_path) -> Callable[[str], Path]:
    """Makes a copy of the model, as it was trained ("sealed") or without the fields that tell of changes."""

    def copy(kind: str) -> Path:
        folder = Path(shutil.copytree(tiny_model, tmp_path / f"model-{len(list(tmp_path.iterdir()))}"))
        if kind == "unsealed":
            change_json(folder / "recipe.json", lambda values: [values.pop("files"), values.pop("checksum")])
        return folder

    return copy


def change_json(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refusal(folder: Path, name: str) -> str:
    """The line with which a folder is refused, which must come at once and name the file."""
    started = time.perf_counter()
    with pytest.raises(UserError) as error:
        load_ensemble(folder, log=lambda line: None)
    assert time.perf_counter() - started < 3
    line = str(error.value)
    assert line.isprintable() and len(line) < 500 and str(folder / name) in line, line
    return line


def set_at(*path: str | int, to) -> Callable[[dict], None]:
    def change(values) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to(values[path[-1]]) if callable(to) else to

    return change


def exchanged(values: list) -> list:
    return [values[1], values[0], *values[2:]]


def exchange_keys(values: dict) -> None:
    cuts = values["ensemble"]["thresholds"]
    first, second = list(cuts)[:2]
    cuts[first], cuts[second] = cuts.pop(second), cuts.pop(first)


CODE = "270492004"
JSON_CHANGES = {
    "threshold NaN": ("thresholds.json", set_at("ensemble", "thresholds", CODE, to=float("nan"))),
    "threshold 2": ("thresholds.json", set_at("ensemble", "thresholds", CODE, to=2)),
    "threshold -1 of a member": ("thresholds.json", set_at("members", "1", "thresholds", CODE, to=-1)),
    "threshold a text": ("thresholds.json", set_at("ensemble", "thresholds", CODE, to="0.5")),
    "threshold true": ("thresholds.json", set_at("ensemble", "thresholds", CODE, to=True)),
    "a threshold too few": ("thresholds.json", lambda values: values["ensemble"]["thresholds"].pop(CODE)),
    "a slope of 0": ("thresholds.json", set_at("ensemble", "slopes", CODE, to=0)),
    "an intercept a text": ("thresholds.json", set_at("ensemble", "intercepts", CODE, to="0")),
    "an intercept too few": ("thresholds.json", lambda values: values["ensemble"]["intercepts"].pop(CODE)),
    "thresholds exchanged": ("thresholds.json", exchange_keys),
    "no ensemble": ("thresholds.json", lambda values: values.pop("ensemble")),
    "members a list": ("thresholds.json", set_at("members", to=[])),
    "a member too few": ("thresholds.json", lambda values: values["members"].pop("1")),
    "a member too many": ("thresholds.json", lambda values: values["members"].update({"7": values["members"]["1"]})),
    "other thresholds are used": ("thresholds.json", set_at("used", to="members")),
    "rules a text": ("thresholds.json", set_at("rules", to="never")),
    "rules without alone": ("thresholds.json", set_at("rules", to={"never": []})),
    "rules of an unknown code": ("thresholds.json", set_at("rules", to={"never": ["1"], "alone": []})),
    "rules of a number": ("thresholds.json", set_at("rules", to={"never": [], "alone": [[1]]})),
    "codes exchanged": ("classes.json", set_at("codes", to=exchanged)),
    "codes and abbreviations exchanged": (
        "thresholds.json",
        lambda values: [set_at(key, to=exchanged)(values) for key in ("codes", "abbreviations")],
    ),
    "a code twice": ("classes.json", set_at("codes", 1, to=CODE)),
    "a code with a line feed": ("classes.json", set_at("codes", 1, to="1\n2")),
    "outputs exchanged": ("classes.json", set_at("outputs", to=exchanged)),
    "codes a text": ("classes.json", set_at("codes", to="270492004")),
    "another year": ("classes.json", set_at("year", to="1887")),
    "short priors": ("classes.json", set_at("priors", to=lambda values: values[:5])),
    "a prior of 3": ("classes.json", set_at("priors", 2, to=3)),
    "a prior null": ("classes.json", set_at("priors", 2, to=None)),
    "a row of weights too few": ("classes.json", set_at("weights", to=lambda rows: rows[1:])),
    "a short row of weights": ("classes.json", set_at("weights", 3, to=lambda row: row[1:])),
    "an infinite weight": ("classes.json", set_at("weights", 3, 3, to=float("inf"))),
    "an unknown join": ("recipe.json", set_at("recipe", "input", "join", to="median")),
    "an unknown architecture": ("recipe.json", set_at("recipe", "model", to="transformer")),
    "an unknown option": ("recipe.json", set_at("recipe", "network", "heads", to=8)),
    "an unknown field": ("recipe.json", set_at("recipe", "input", "colour", to="red")),
    "width 30": (FIRST, set_at("recipe", "network", "width", to=30)),
    "width 4000": (FIRST, set_at("recipe", "network", "width", to=4000)),
    "width a text": ("recipe.json", set_at("recipe", "network", "width", to="4")),
    "a billion levels": ("recipe.json", set_at("recipe", "network", "levels", to=10**9)),
    "no level": ("recipe.json", set_at("recipe", "network", "levels", to=0)),
    "rate a text": ("recipe.json", set_at("recipe", "input", "frequency_hz", to="125")),
    "rate NaN": ("recipe.json", set_at("recipe", "input", "frequency_hz", to=float("nan"))),
    "true for a number": ("recipe.json", set_at("recipe", "input", "piece_s", to=True)),
    "no lines of few leads": (FIRST, set_at("recipe", "network", "few_lead_lines", to=False)),
    "envelopes": ("recipe.json", set_at("recipe", "input", "envelopes_hz", to=[8.0])),
    "another label set": ("classes.json", set_at("recipe", "label_set", to="cpsc")),
    "another voting": ("recipe.json", set_at("recipe", "voting", "thresholds", to="members")),
    "recipe null": ("recipe.json", set_at("recipe", to=None)),
    "no phases": ("recipe.json", set_at("recipe", "training", "phases", to=7)),
    "no members": ("recipe.json", set_at("members", to=[])),
    "members twice": ("recipe.json", set_at("members", to=[0, 0])),
    "members texts": ("recipe.json", set_at("members", to=["0", "1"])),
    "one member": ("thresholds.json", set_at("members", to=[0])),
    "a member that is not there": ("recipe.json", set_at("members", to=[0, 1, 2])),
    "members null": ("recipe.json", set_at("members", to=None)),
}
# Where JSON_CHANGES names another file than the changed one: what is changed there.
ELSEWHERE = ("width 30", "width 4000", "no lines of few leads", "another label set", "one member")
CHANGED = {**dict.fromkeys(ELSEWHERE, "recipe.json"), "codes and abbreviations exchanged": "classes.json"}


CONTEXT_CHANGES = {
    "a text": set_at("ensemble", "context", to="moved"),
    "a slope of 0": set_at("ensemble", "context", "slopes", CODE, to=0),
    "a reference too few": lambda values: values["ensemble"]["context"]["reference"].pop(CODE),
    "a reference of 2": set_at("ensemble", "context", "reference", CODE, to=2),
    "no habits": set_at("ensemble", "context", "habits", to=[]),
    "habits a table": set_at("ensemble", "context", "habits", to={}),
    "habits of texts": set_at("ensemble", "context", "habits", to=["a"]),
    "too many habits": set_at("ensemble", "context", "habits", to=lambda habits: habits * 99),
    "a share of 2": set_at("ensemble", "context", "habits", 0, "share", to=2),
    "a share null": set_at("ensemble", "context", "habits", 0, "share", to=None),
    "written a list": set_at("ensemble", "context", "habits", 1, "written", to=[1.0] * 24),
    "written NaN": set_at("ensemble", "context", "habits", 1, "written", CODE, to=float("nan")),
    "alone an unknown code": set_at("ensemble", "context", "habits", 2, "only_alone", to="1"),
    "alone a list": set_at("ensemble", "context", "habits", 2, "only_alone", to=[CODE]),
}


@pytest.mark.parametrize("change", CONTEXT_CHANGES)
def test_a_changed_context_is_refused(change, tiny_model, tmp_path):
    folder = with_context(tiny_model, tmp_path / "moved")
    assert load_ensemble(folder, log=lambda line: None).context is not None
    change_json(folder / "thresholds.json", CONTEXT_CHANGES[change])
    refusal(folder, "thresholds.json")


@pytest.mark.parametrize("kind", ["sealed", "unsealed"])
@pytest.mark.parametrize("title", JSON_CHANGES)
def test_a_changed_value_is_refused_and_the_file_named(copy_of, kind, title):
    name, change = JSON_CHANGES[title]
    changed = CHANGED.get(title, name)
    folder = copy_of(kind)
    change_json(folder / changed, change)
    refusal(folder, changed if kind == "sealed" else name)


def test_values_in_their_range_are_refused_too_where_checksums_tell(copy_of):
    for name, change in (
        ("recipe.json", set_at("recipe", "input", "unit_mv", to=0.21)),
        ("recipe.json", set_at("seed", to=6)),
        ("recipe.json", lambda values: values["recipe"]["input"].pop("join")),
        ("thresholds.json", set_at("ensemble", "thresholds", CODE, to=0.123)),
        ("classes.json", set_at("priors", 2, to=0.123)),
    ):
        folder = copy_of("sealed")
        change_json(folder / name, change)
        assert "chang" in refusal(folder, name) or "SHA-256" in refusal(folder, name)


def negative_variance(tensors: dict[str, torch.Tensor]) -> None:
    next(values for name, values in tensors.items() if name.endswith("running_var"))[0] = -1


TENSOR_CHANGES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "NaN": lambda tensors: tensors["network.covariance"].fill_(torch.nan),
    "infinite": lambda tensors: tensors["network.covariance"][3].fill_(-torch.inf),
    "a negative variance": negative_variance,
    "a tensor too few": lambda tensors: tensors.pop("network.covariance"),
    "a tensor too many": lambda tensors: tensors.update(surplus=torch.zeros(3)),
    "another name": lambda tensors: tensors.update(covariances=tensors.pop("network.covariance")),
    "another shape": lambda tensors: tensors.update({"network.covariance": torch.eye(11)}),
    "another type": lambda tensors: tensors.update({"network.covariance": torch.eye(12, dtype=torch.float64)}),
    "counts in half precision": lambda tensors: tensors.update(
        {name: values.half() for name, values in tensors.items() if not values.is_floating_point()}
    ),
    "nothing": lambda tensors: tensors.clear(),
}


@pytest.mark.parametrize("kind", ["sealed", "unsealed"])
@pytest.mark.parametrize("title", TENSOR_CHANGES)
def test_changed_weights_are_refused_and_the_file_named(copy_of, kind, title):
    folder = copy_of(kind)
    change_tensors(folder / SECOND, TENSOR_CHANGES[title])
    refusal(folder, SECOND)


def exchange(folder: Path) -> None:
    (folder / FIRST).rename(folder / "third")
    (folder / SECOND).rename(folder / FIRST)
    (folder / "third").rename(folder / SECOND)


def sparse(path: Path, size: int = 2**40) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


FILE_CHANGES: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    **{f"{name} missing": ("both", name, lambda path: path.unlink()) for name in (SECOND, "classes.json")},
    **{f"{name} a pipe": ("both", name, lambda path: replace_by(path, os.mkfifo)) for name in (FIRST, "classes.json")},
    **{f"{name} a folder": ("both", name, lambda path: replace_by(path, os.mkdir)) for name in (FIRST, "classes.json")},
    **{
        f"{name} endless": ("both", name, lambda path: replace_by(path, lambda new: new.symlink_to("/dev/zero")))
        for name in (FIRST, "thresholds.json")
    },
    **{f"{name} of a terabyte": ("both", name, sparse) for name in (FIRST, "thresholds.json")},
    "a member cut short": ("both", SECOND, lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "a member empty": ("both", SECOND, lambda path: path.write_bytes(b"")),
    "a member's header too long": ("both", SECOND, lambda path: path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])),
    "deep JSON": ("both", "classes.json", lambda path: path.write_text("[" * 10**5)),
    "no UTF-8": ("both", "thresholds.json", lambda path: path.write_bytes(b"\xff\xfe{}")),
    "a list": ("both", "thresholds.json", lambda path: path.write_text("[]")),
    "the other member": ("both", SECOND, lambda path: shutil.copy(path.with_name(FIRST), path)),
    "members exchanged": ("sealed", FIRST, lambda path: exchange(path.parent)),
    "one weight": ("sealed", SECOND, lambda path: change_tensors(path, lambda t: t["network.covariance"].add_(1e-3))),
    "a byte more": ("sealed", "classes.json", lambda path: path.write_bytes(path.read_bytes() + b" ")),
}


@pytest.mark.parametrize("kind", ["sealed", "unsealed"])
@pytest.mark.parametrize("title", FILE_CHANGES)
def test_a_changed_file_is_refused_and_named(copy_of, kind, title):
    where, name, change = FILE_CHANGES[title]
    if where == "sealed" and kind == "unsealed":
        return
    folder = copy_of(kind)
    change(folder / name)
    refusal(folder, name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10**5])
def test_an_unreadable_recipe_is_no_model(copy_of, content):
    folder = copy_of("sealed")
    (folder / "recipe.json").write_bytes(content)
    assert manifest_of(folder) == {}
    with pytest.raises(UserError, match="no trained model"):
        load_ensemble(folder)


def test_a_recipe_that_is_a_pipe_does_not_hang(copy_of):
    folder = copy_of("sealed")
    replace_by(folder / "recipe.json", os.mkfifo)
    with pytest.raises(UserError, match="no trained model"):
        load_ensemble(folder)


@pytest.mark.parametrize("files", [7, {}, {"classes.json": 5}, {"classes.json": "0" * 64}])
def test_digests_that_do_not_name_every_file_are_refused(copy_of, files):
    folder = copy_of("sealed")
    manifest = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(sealed({**manifest, "files": files})))
    refusal(folder, "recipe.json")


def test_what_does_not_change_scores_is_no_reason_to_refuse(copy_of):
    folder = copy_of("sealed")
    for name in ("progress.png", "history.csv", "splits.json"):
        (folder / name).unlink()
    (folder / "README.md").write_text("a folder of mine")
    values = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(values, separators=(",", ":"), sort_keys=True))
    load_ensemble(folder)


def test_a_new_model_that_was_being_put_into_the_folder_is_the_model(copy_of, tiny_model):
    folder = copy_of("sealed")
    (folder / SECOND).unlink()
    shutil.copytree(tiny_model, folder / ".new")
    assert len(load_ensemble(folder).models) == 2


def test_only_a_folder_without_digests_is_told_of_in_one_line(copy_of):
    lines: list[str] = []
    load_ensemble(copy_of("sealed"), log=lines.append)
    assert lines == []
    load_ensemble(copy_of("unsealed"), log=lines.append)
    assert len(lines) == 1 and "SHA-256" in lines[0]


# ------------------------------------------------------------------------------------------------------- random changes

WORDS = [
    None,
    True,
    -1,
    0,
    2,
    1e308,
    float("nan"),
    "",
    "x" * 1000,
    [],
    {},
    [1],
    "max",
    10**30,
    0.5,
    [[1, 2], [3]],
    "\x1b",
]


def random_json_change(rng: np.random.Generator, path: Path) -> None:
    """Replaces, deletes, doubles or exchanges a random value anywhere in a JSON file."""
    values = json.loads(path.read_text())
    place: list | dict = values
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = keys[rng.integers(len(keys))]
        inner = place[key]
        if isinstance(inner, (list, dict)) and inner and rng.random() < 0.8:
            place = inner
            continue
        action = rng.integers(4)
        if action == 0:
            del place[key]
        elif action == 1 and isinstance(inner, float):
            place[key] = inner * float(rng.choice([0.5, -1, 1.0001, 1000]))
        elif action == 2 and isinstance(place, list):
            place.insert(key, inner)
        elif action == 3 and len(keys) > 1:
            other = keys[rng.integers(len(keys))]
            place[key], place[other] = place[other], place[key]
        else:
            place[key] = WORDS[rng.integers(len(WORDS))]
        break
    path.write_text(json.dumps(values))


def random_byte_change(rng: np.random.Generator, path: Path) -> None:
    """Flips bits, cuts off, removes or repeats a random stretch of a file."""
    content = bytearray(path.read_bytes())
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    action = rng.integers(4)
    if action == 0:
        content[start] ^= 1 << int(rng.integers(8))
    elif action == 1:
        del content[start:]
    elif action == 2:
        del content[start : start + length]
    else:
        content[start:start] = content[start : start + length]
    path.write_bytes(bytes(content))


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_each_of_240_random_changes_is_refused_or_gives_the_same_outputs(tiny_model, hospital, copy_of, part):
    headers = find_recordings(hospital)[:3]
    original = load_ensemble(tiny_model)
    prepared = [prepare(read_recording(header), original.recipe.input) for header in headers]
    expected = classify(original, prepared)
    folder, refused = copy_of("sealed"), 0
    for seed in range(part * 60, part * 60 + 60):
        rng = np.random.default_rng(seed)
        name = str(rng.choice(["recipe.json", "classes.json", "thresholds.json", FIRST, SECOND]))
        change = random_byte_change if name.startswith("member") or rng.random() < 0.3 else random_json_change
        shutil.copy(tiny_model / name, folder / name)
        change(rng, folder / name)
        started = time.perf_counter()
        try:
            ensemble = load_ensemble(folder, log=lambda line: None)
        except UserError as error:
            refused += 1
            assert str(error).isprintable() and str(folder) in str(error) and len(str(error)) < 600, seed
        else:
            for row, other in zip(classify(ensemble, prepared), expected):
                np.testing.assert_array_equal(row.scores, other.scores, err_msg=f"seed {seed}")
                np.testing.assert_array_equal(row.labels, other.labels, err_msg=f"seed {seed}")
        assert time.perf_counter() - started < 10, seed
        shutil.copy(tiny_model / name, folder / name)
    assert refused > 50  # the others exchanged a value for itself


@pytest.mark.slow
def test_random_changes_of_a_folder_without_digests_never_end_in_a_traceback(tiny_model, hospital, copy_of):
    """What is within its range cannot be told from a model that is so; it must still give numbers, in bounded time."""
    recording = prepare(read_recording(find_recordings(hospital)[0]), load_ensemble(tiny_model).recipe.input)
    folder = copy_of("unsealed")
    for seed in range(150):
        rng = np.random.default_rng([7, seed])
        name = str(rng.choice(["recipe.json", "classes.json", "thresholds.json", FIRST]))
        before = (folder / name).read_bytes()
        (random_byte_change if name == FIRST else random_json_change)(rng, folder / name)
        started = time.perf_counter()
        try:
            ensemble = load_ensemble(folder, log=lambda line: None)
            assert len(classify(ensemble, [recording])[0].labels) == 30
        except UserError as error:
            assert str(error).isprintable() and str(folder) in str(error), seed
        assert time.perf_counter() - started < 10, seed
        (folder / name).write_bytes(before)
