"""ONNX files give the model's probabilities, say what they are, and what cannot be exported is refused in one line."""

from __future__ import annotations

import builtins
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made import with_context
from small_networks import SMALL

from twelvelead.cli import main
from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.export import onnx_file
from twelvelead.export.graph import onnx_model
from twelvelead.export.network import NOT_EXPORTABLE, EliminatingFilledLeads, check_exportable
from twelvelead.export.onnx_file import LARGEST_DIFFERENCE, export, largest_difference, metadata_of_file
from twelvelead.inference.ensemble import Ensemble, joined_scores, labels_of, load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.models.network import FewLeadLines, FilledLeads, fuse, new_model
from twelvelead.preprocessing.prepare import prepare, windows_of
from twelvelead.recipes import RECIPES, Input
from twelvelead.thresholds.probabilities import LogisticMap

ROOT = Path(__file__).resolve().parents[2]
EXPORTABLE = [
    name for name, recipe in RECIPES.items() if len(recipe.parts) == 1 and recipe.parts[0].model not in NOT_EXPORTABLE
]


def small_ensemble(name: str, members: int = 2) -> Ensemble:
    """An ensemble of small networks of a recipe, with random weights and statistics of a batch of noise."""
    recipe = RECIPES[name]
    network = {**recipe.network, **SMALL[recipe.model]}
    if "decision_head" in network:
        network["decision_head"] = 8
    recipe = dataclasses.replace(recipe, network=network)
    classes = classes_for(recipe.label_set, load_weights(WEIGHTS))
    models = []
    for member in range(members):
        torch.manual_seed(member)
        model = new_model(recipe, len(classes.codes)).train()
        for filled in (module for module in model.modules() if isinstance(module, FilledLeads)):
            filled.covariance.copy_(covariance_of_leads(member))
        for moved in (module for module in model.modules() if isinstance(module, FewLeadLines)):
            moved.lines.intercept.copy_(torch.linspace(-2, 2, len(classes.codes)))
        with torch.no_grad():
            model(torch.randn(8, recipe.input.channels, 640) * 2 + 1, torch.ones(8, 640, dtype=torch.bool))
        models.append(fuse(model.eval()))
    each = np.full(len(classes.codes), 0.3)
    line = LogisticMap(each + 0.5, each - 2) if recipe.voting.calibrated else None
    own = np.stack([each] * members)
    return Ensemble(recipe, classes, models, (0,) * members, each, own, each, None, line, torch.device("cpu"))


def covariance_of_leads(seed: int) -> torch.Tensor:
    """A covariance as leads have it, in which four limb leads follow from two."""
    eight = np.random.default_rng(seed).normal(size=(8, 500))
    one, two = eight[:2]
    limbs = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    leads = np.concatenate([limbs, eight[2:]])
    return torch.tensor(leads @ leads.T / 500, dtype=torch.float32)


@pytest.fixture(scope="module")
def exported(tiny_model, tmp_path_factory) -> tuple[Path, str]:
    """An ONNX file of `tiny_model`, and what the command printed."""
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    lines: list[str] = []
    export(tiny_model, path, lines.append)
    return path, "\n".join(lines)


# -- the file --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_prints_the_largest_difference_which_is_small(exported):
    path, printed = exported
    difference = float(re.search(r"at most (\S+)$", printed).group(1))
    assert printed.count("\n") == 0 and str(path) in printed and "2 members" in printed
    assert 0 <= difference <= LARGEST_DIFFERENCE


@pytest.mark.slow
def test_the_file_scores_recordings_of_a_hospital_as_the_model_does(exported, tiny_model, hospital):
    """Recordings that the command itself did not compare; a long one is cut into pieces as docs/export.md says."""
    import onnxruntime

    ensemble = load_ensemble(tiny_model)
    session = onnxruntime.InferenceSession(str(exported[0]))
    spec = ensemble.recipe.input
    prepared = [prepare(read_recording(header), spec) for header in find_recordings(hospital)[:6]]
    expected = member_scores(ensemble, stack(prepared, torch.device("cpu")))
    for k, item in enumerate(prepared):
        time = len(item.valid)
        piece, overlap = (round(seconds * spec.frequency_hz) for seconds in (spec.piece_s, spec.overlap_s))
        cuts = windows_of(time, piece, overlap) if time > spec.longest_s * spec.frequency_hz else [(0, time)]
        pieces = [
            dataclasses.replace(item, signal=item.signal[:, begin:end], valid=item.valid[begin:end])
            for begin, end in cuts
        ]
        probabilities, of_members = session.run(None, onnx_file.onnx_inputs(pieces))
        assert np.abs(of_members.mean(axis=1) - expected[:, k]).max() < LARGEST_DIFFERENCE
        if len(pieces) == 1:
            assert np.abs(probabilities - joined_scores(ensemble, expected[:, [k]])).max() < LARGEST_DIFFERENCE
    assert np.ptp(expected, axis=1).max() > 10 * LARGEST_DIFFERENCE  # the test can tell recordings apart


@pytest.mark.slow
def test_the_example_of_the_documents_runs_and_prints_every_class(exported, hospital, tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    header = find_recordings(hospital)[0]
    for source in header.parent.glob(header.stem + ".*"):
        shutil.copy(source, tmp_path)
    shutil.copy(exported[0], tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("A0001.hea", header.name), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 24 and all(re.search(r" [01]\.\d{3}( found)?\s*$", line) for line in lines)


@pytest.mark.slow
def test_the_example_finds_what_a_model_with_moved_thresholds_finds(
    tiny_model, hospital, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    model = with_context(tiny_model, tmp_path / "moved")
    export(model, tmp_path / "model.onnx", lambda line: None)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    ensemble = load_ensemble(model)
    at_least_one = dataclasses.replace(ensemble.recipe.voting, at_least_one=False)
    plain = dataclasses.replace(ensemble, recipe=dataclasses.replace(ensemble.recipe, voting=at_least_one))
    for header in find_recordings(hospital)[:4]:
        exec(code.replace("A0001.hea", str(header)), {})
        found = [line.endswith("found") for line in map(str.rstrip, capsys.readouterr().out.splitlines())]
        prepared = prepare(read_recording(header), ensemble.recipe.input)
        scores = member_scores(ensemble, stack([prepared], torch.device("cpu")))
        assert found == labels_of(plain, scores)[0].tolist()


@pytest.mark.slow
def test_a_file_of_other_weights_is_not_written(exported, tiny_model, tmp_path, monkeypatch):
    """The comparison is what decides: here it is made with a model whose last layer is another one."""
    other = load_ensemble(tiny_model)
    for model in other.models:
        [head] = [module for name, module in model.named_modules() if name.endswith("network.head")]
        head.bias.data += 0.1
    assert largest_difference(exported[0], other) > 100 * LARGEST_DIFFERENCE
    real = onnx_file.load_ensemble
    plain_or_other = lambda folder, accelerate=True: other if accelerate else real(folder, accelerate=False)  # noqa: E731
    monkeypatch.setattr(onnx_file, "load_ensemble", plain_or_other)
    monkeypatch.setattr(onnx_file, "onnx_model", lambda plain: __import__("onnx").load(exported[0]))
    with pytest.raises(UserError, match=r"model\.onnx: not written, .* more than 0\.0001"):
        export(tiny_model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("name", EXPORTABLE)
def test_every_recipe_that_can_be_exported_gives_the_models_scores(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    expected, plain = small_ensemble(name), small_ensemble(name)
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model(plain).SerializeToString())
    assert largest_difference(path, expected) < LARGEST_DIFFERENCE


# -- its parts -------------------------------------------------------------------------------------


def test_elimination_estimates_the_leads_that_solving_estimates():
    filled = FilledLeads(torch.nn.Identity(), 12)
    filled.covariance.copy_(covariance_of_leads(1))
    present = torch.rand(64, 12) < torch.linspace(0.1, 1, 64)[:, None]
    present[0], present[1] = True, False
    torch.testing.assert_close(
        EliminatingFilledLeads(filled).estimates(present), filled.estimates(present), rtol=0, atol=2e-3
    )
    doubled = FilledLeads(torch.nn.Identity(), 12)
    doubled.covariance = filled.covariance.double()  # what rounding leaves of the difference vanishes
    torch.testing.assert_close(
        EliminatingFilledLeads(filled).estimates(present), doubled.estimates(present).float(), rtol=0, atol=1e-5
    )


def test_the_properties_are_those_of_the_model():
    ensemble = small_ensemble("butt", members=1)
    about = {key: json.loads(value) for key, value in metadata_of_file(ensemble).items()}
    assert about["codes"] == list(ensemble.classes.codes) and len(about["names"]) == len(about["codes"]) == 24
    assert about["names"][about["abbreviations"].index("AF")] == "atrial fibrillation"
    assert about["thresholds"] == ensemble.thresholds.tolist() and len(about["member_thresholds"]) == 1
    assert about["slopes"] == ensemble.probabilities.slopes.tolist() and len(about["intercepts"]) == 24
    assert (about["voting"], about["at_least_one"], len(about["metadata"])) == ("ensemble", True, 13)
    restored = {key: tuple(value) if isinstance(value, list) else value for key, value in about["preparation"].items()}
    assert Input(**restored) == ensemble.recipe.input


# -- what cannot be exported -----------------------------------------------------------------------


def test_an_architecture_without_an_onnx_form_is_one_line_that_names_the_operation():
    with pytest.raises(UserError, match=r"'s4' has no ONNX form: .*torch\.fft\.rfft"):
        check_exportable("s4")
    for name in EXPORTABLE:
        check_exportable(RECIPES[name].model)


def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name == "onnxruntime":
            raise ImportError("no such module", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["export", str(tmp_path), str(tmp_path / "model.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "onnxruntime" in error and "twelvelead[export]" in error


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    assert main(["export", str(tmp_path), str(tmp_path / "model.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no trained model" in error
