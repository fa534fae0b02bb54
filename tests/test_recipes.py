"""Every recipe: it is what its publication says, and it trains, saves, loads and classifies. Tests walk the registry.

A new recipe needs a line in PARAMETERS, and one in PUBLISHED, {} for a recipe without a publication. The fixture
`system` trains each recipe once, with a small width, on 32 synthetic recordings, one member, two epochs.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import operator
import os
import re
import shutil
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from made import write_mat

import evaluate_model
import team_code
from twelvelead import models
from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import CPSC, LABEL_SETS, OUTPUT_CODES, classes_for, load_weights
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.inference.classify import classify_folder
from twelvelead.inference.ensemble import labels_of, load_ensemble, member_scores
from twelvelead.inference.predict import predict, stack
from twelvelead.models.network import new_model
from twelvelead.preprocessing.prepare import Prepared, prepare
from twelvelead.recipes import RECIPES, Augmentation, Recipe, recipe_from_dict, to_dict
from twelvelead.settings import Settings
from twelvelead.synthetic import make_recording
from twelvelead.thresholds import search
from twelvelead.training import workers
from twelvelead.training.batches import gather
from twelvelead.training.losses import LOSSES, Weighting, class_weights
from twelvelead.training.member import TrainedMember
from twelvelead.training.run import TrainingRun
from twelvelead.training.training_state import OPTIMIZERS

ROOT = Path(__file__).resolve().parent.parent
TABLE = load_weights(WEIGHTS)
# Recipes with one network; the others join some of them.
SINGLE = {name: recipe for name, recipe in RECIPES.items() if isinstance(recipe, Recipe)}
NINE = [name for name, recipe in RECIPES.items() if recipe.label_set == "cpsc"]
WITH_FOLDS = [name for name, recipe in RECIPES.items() if recipe.voting.folds]
every_recipe = pytest.mark.parametrize("name", RECIPES)
every_network = pytest.mark.parametrize("name", SINGLE)


def butt_parameters(
    width,
    levels,
    convolutions,
    kernel,
    classes,
    metadata_features=0,
    metadata=7,
    beat_width=0,
    beat_features=0,
    dropout=0,
    few_lead_lines=False,
):
    """Counted from the paper's text: stem, levels, top, units; weights, biases, and batch norm's two of each filter.

    With `beat_features` also a network of the average beat: three convolutions of 7 taps over its 112 samples, so many
    hidden units of their 28 last samples and the features of the metadata, and a unit for each class.
    """

    def conv(a, b, kernel=kernel):
        return a * b * kernel + 3 * b

    total, channels = conv(12, width), width
    for i in range(1, levels + 1):
        total += conv(channels, i * width) + (convolutions - 1) * conv(i * width, i * width)
        channels = width + 2 * i * width
    total += conv(channels, levels * width) + (metadata + 1) * metadata_features
    if beat_features:
        total += conv(12, beat_width, 7) + 2 * conv(beat_width, beat_width, 7)
        total += (28 * beat_width + metadata_features + 1) * beat_features + (beat_features + 1) * classes
    return total + (levels * width + metadata_features + 1) * classes


PARAMETERS = {
    "butt": butt_parameters(**RECIPES["butt"].network, classes=24, metadata=13),  # ours: whatever size it has come to
    "butt-2020": 2_665_464,
    "butt-cpsc": butt_parameters(4, 8, 2, 13, classes=9),
    "se-resnet": 8_837_060,
    "crnn": 40_995_849,
    "cnn-gru": 3_427_864,
    "isibrno-2021": 6_547_256 + 12_824,  # the network; the second head
    "s4": 2_177_560,
}

# What a description gives, by the field that holds it: phases are (loss, learning rate, epochs).
PUBLISHED = {
    "butt-2020": {  # T. Vicar et al., CinC 2020, paper 189, and its code
        "input.frequency_hz": 125,
        "input.unit_mv": 0.2,
        "input.per_recording_scale": False,
        "input.high_pass_hz": 0,
        "input.longest_s": 105,
        "input.piece_s": 90,
        "input.overlap_s": 5,
        "input.join": "max",
        "augmentation": Augmentation(stretch=0.1, stretch_probability=0.8, gain=0.2, gain_probability=0.8),
        "network": dict(width=30, levels=6, convolutions=3, kernel=7),
        "training.optimizer": "adamw",
        "training.weight_decay": 1e-5,
        "training.batch_size": 32,
        "training.largest_class_weight": None,
        "training.unknown_labels": "negative",
        "training.phases": [
            ("weighted_cross_entropy", 1e-3, 30),
            ("weighted_cross_entropy", 1e-4, 20),
            ("weighted_cross_entropy", 1e-5, 10),
            ("challenge_loss", 1e-3, 15),
            ("challenge_loss", 1e-4, 10),
            ("challenge_loss", 1e-5, 10),
        ],
        "voting.members": 3,
        "voting.train_fraction": 0.9,
        "voting.threshold_method": "bayesian",
        "voting.threshold_options": {"random_points": 250, "guided_points": 50},
        "voting.thresholds": "members",
        "voting.rate_labels": False,
        "voting.at_least_one": False,
        "label_set": "challenge",
    },
    "butt-cpsc": {  # the same authors' abstract for the unofficial phase, small variant
        "input.frequency_hz": 500,
        "input.standardised": True,
        "input.channels": 12,
        "augmentation": Augmentation(
            stretch=0.2, stretch_probability=0.7, gain=0.2, gain_probability=0.7, shift_probability=0.7
        ),
        "network": dict(width=4, levels=8, convolutions=2, kernel=13),
        "training.optimizer": "adam",
        "training.largest_class_weight": None,
        "training.phases": [
            ("weighted_cross_entropy", 1e-2, 35),
            ("weighted_cross_entropy", 1e-3, 35),
            ("weighted_cross_entropy", 1e-4, 35),
            ("weighted_cross_entropy", 1e-5, 2),
        ],
        "voting.members": 11,
        "voting.train_fraction": 0.8,
        "voting.thresholds": "ensemble",
        "label_set": "cpsc",
    },
    "se-resnet": {  # Z. Zhao et al., CinC 2020, paper 112
        "input.frequency_hz": 257,
        "input.piece_s": 4096 / 257,
        "input.longest_s": 4096 / 257,
        "input.overlap_s": 256 / 257,
        "input.join": "mean",
        "augmentation": Augmentation(),
        "network": dict(width=64, blocks=8, stem_kernel=15, kernel=7, reduction=16, dropout=0.2, person_features=10),
        "training.optimizer": "adam",
        "training.batch_size": 64,
        "training.phases": [("cross_entropy", 3e-3, 20), ("cross_entropy", 3e-4, 20), ("cross_entropy", 3e-5, 10)],
        "voting.members": 5,
        "voting.folds": 5,
        "voting.threshold_method": "constrained_grid",
        "voting.threshold_options": {"common_step": 0.1, "class_step": 0.01},
        "voting.thresholds": "members",
        "label_set": "challenge",
    },
    "crnn": {  # B.-J. Singstad and C. Tronstad, abstract and code for the unofficial phase
        "input.frequency_hz": 500,
        "input.piece_s": 20,
        "input.longest_s": 20,
        "input.join": "first",
        "augmentation": Augmentation(),
        "network": dict(
            width=1024,
            blocks=7,
            kernel=5,
            pool=5,
            pool_stride=3,
            last_pool=3,
            last_pool_stride=1,
            samples=10_000,
            dropout=0.5,
        ),
        "training.select": "loss",
        "training.phases": [("categorical_cross_entropy", 1e-3, 10)],
        "voting.members": 10,
        "voting.folds": 10,
        "voting.threshold_method": "simplex",
        "voting.threshold_options": {"common_step": 0.05},
        "label_set": "cpsc",
    },
    "cnn-gru": {  # P. Nejedly et al., CinC 2020, paper 32
        "input.frequency_hz": 250,
        "input.unit_mv": 1,
        "input.centred": True,
        "input.envelopes_hz": (8, 24),
        "input.channels": 36,
        "input.piece_s": 120,
        "input.longest_s": 120,
        "input.join": "first",
        "augmentation": Augmentation(),
        "network": dict(width=256, blocks=5, convolutions=3, kernel=3, dropout=0.2),
        "training.optimizer": "adam",
        "training.weight_decay": 1e-6,
        "training.rate_patience": 7,
        "training.batch_size": 64,
        "training.select": "metric",
        "training.phases": [("cross_entropy", 1e-3, 75)],
        "voting.members": 1,
        "voting.train_fraction": 0.75,
        "voting.threshold_method": "common",
        "label_set": "challenge",
    },
    "isibrno-2021": {  # P. Nejedly et al., CinC 2021, and a public copy of the entry
        "input.frequency_hz": 500,
        "input.band_pass_hz": (1, 47),
        "input.band_pass_order": 3,
        "input.centred": True,
        "input.per_lead_scale": True,
        "input.derive_limb_leads": False,
        "input.piece_s": 8192 / 500,
        "input.longest_s": 8192 / 500,
        "augmentation.lead_sets": (
            "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6",
            "I II V1 V2 V3 V4 V5 V6",
            "I II III aVR aVL aVF",
            "I II III V2",
            "I II V2",
            "I II",
        ),
        "network": dict(width=256, blocks=5, stem_kernel=15, kernel=9, heads=8, dropout=0.5, decision_head=256),
        "training.phases": [("joint_loss", 1e-3, 20), ("joint_loss", 1e-4, 20), ("joint_loss", 1e-5, 10)],
        "training.optimizer": "adam",
        "training.weight_decay": 1e-4,
        "training.batch_size": 128,
        "training.largest_gradient": 10,
        "training.largest_class_weight": None,
        "training.select": "auprc",
        "voting.members": 3,
        "voting.train_fraction": 0.8,
        "voting.threshold_method": "differential_evolution",
        "voting.threshold_options": {"points": 300, "common_points": 99, "f_points": 2, "generations": 100},
        "voting.thresholds": "members",
        "label_set": "challenge",
    },
    "s4": {  # T. Mehari and N. Strodthoff, 2023
        "input.frequency_hz": 100,
        "input.piece_s": 2.5,
        "input.longest_s": 2.5,
        "input.join": "mean",
        "augmentation": Augmentation(),
        "network": dict(width=512, layers=4, states=8, dropout=0.2, shortest_step=1e-3, longest_step=0.1),
        "training.phases": [("cross_entropy", 1e-3, 100)],
        "training.optimizer": "adamw",
        "training.weight_decay": 1e-3,
        "label_set": "challenge",
    },
}


def classes_of(recipe):
    return classes_for(recipe.label_set, TABLE)


def tiny(name: str):
    """One member of every recipe that it has, two epochs, narrow networks."""
    return RECIPES[name].scaled(epochs=2, members=len(RECIPES[name].parts), width=4, synthetic=0)


# ------------------------------------------------------------------------------------------------------------- values


def test_every_recipe_is_tested_and_has_its_name():
    assert set(PARAMETERS) == set(SINGLE) and set(PUBLISHED) == set(SINGLE) - {"butt"}
    assert all(recipe.name == name and "\n" not in recipe.summary and recipe.source for name, recipe in RECIPES.items())


@pytest.mark.parametrize("name, path", [(name, path) for name, values in PUBLISHED.items() for path in values])
def test_a_recipe_is_what_its_description_says(name, path):
    found = operator.attrgetter(path)(RECIPES[name])
    if path == "training.phases":
        assert {phase.schedule for phase in found} == {"constant"}
        found = [(phase.loss, phase.learning_rate, phase.epochs) for phase in found]
    assert found == PUBLISHED[name][path]


def test_numbers_of_the_descriptions_that_a_method_holds():
    def default(function, parameter):
        return inspect.signature(function).parameters[parameter].default

    assert default(search.bayesian, "random_points") == 250 and default(search.bayesian, "guided_points") == 50
    assert sum(phase.epochs for phase in RECIPES["butt-cpsc"].training.phases) == 107


def test_the_default_is_an_ensemble_for_the_classes_of_the_challenge():
    recipe = RECIPES[Settings().recipe]
    assert recipe.voting.members > 1 and recipe.label_set == "challenge"


@every_network
def test_every_name_in_a_recipe_exists(name):
    recipe = RECIPES[name]
    assert recipe.model in models.names() and recipe.label_set in LABEL_SETS
    assert recipe.training.optimizer in OPTIMIZERS and recipe.voting.threshold_method in search.METHODS
    assert all(phase.loss in LOSSES and phase.schedule in ("constant", "cosine") for phase in recipe.training.phases)
    assert recipe.training.select in ("metric", "auprc", "loss", "last")
    assert recipe.input.join in ("max", "mean", "first")
    assert recipe.training.unknown_labels in ("negative", "masked", "unstated")
    assert recipe.voting.thresholds in ("ensemble", "members")
    assert bool(recipe.voting.folds) != bool(recipe.voting.train_fraction)  # one way to make members
    assert recipe.voting.members <= (recipe.voting.folds or math.inf)
    assert recipe.input.piece_s <= recipe.input.longest_s and recipe.input.overlap_s < recipe.input.piece_s


@every_recipe
def test_recipes_travel_as_strict_json(name):
    recipe = tiny(name)
    assert recipe_from_dict(json.loads(json.dumps(to_dict(recipe), allow_nan=False))) == recipe


@every_network
def test_a_smaller_budget_changes_epochs_members_and_width_and_nothing_else(name):
    recipe = RECIPES[name]
    small = recipe.scaled(epochs=5, members=2, width=6)
    assert sum(phase.epochs for phase in small.training.phases) == 5
    assert small.voting.members == 2 and small.network["width"] == 6

    def without(changed):
        values = to_dict(changed)
        del values["training"]["phases"], values["voting"]["members"], values["network"]["width"]
        return values

    assert without(small) == without(recipe)
    assert {phase.loss for phase in small.training.phases} == {phase.loss for phase in recipe.training.phases}
    published = [dataclasses.replace(phase, epochs=0) for phase in recipe.training.phases]
    places = [published.index(dataclasses.replace(phase, epochs=0)) for phase in small.training.phases]
    assert places == sorted(places)
    assert recipe.scaled() == recipe
    assert recipe.scaled(epochs=sum(phase.epochs for phase in recipe.training.phases)) == recipe
    assert recipe.scaled(members=99).voting.members == (recipe.voting.folds or 99)


@pytest.mark.parametrize("name", WITH_FOLDS)
def test_with_folds_every_recording_validates_one_member_and_trains_the_rest(name):
    recipe, random = RECIPES[name], np.random.default_rng(0)
    labels = random.random((230, 9)) < 0.2
    groups = [f"patient {row // 3}" if row % 5 else None for row in range(230)]
    codes = [("1",) if row % 7 else () for row in range(230)]
    store = types.SimpleNamespace(codes=codes, synthetic=np.zeros(230, bool))
    job = TrainingRun(Path(), "", "", recipe, classes_of(recipe), 3, groups, store)
    parts = [job.member_rows(labels, member) for member in range(recipe.voting.folds)]
    assert sorted(np.concatenate([validation for _, validation in parts])) == job.rows.tolist()
    for train, validation in parts:
        assert sorted([*train, *validation]) == job.rows.tolist()
        assert {groups[row] for row in train} & {groups[row] for row in validation} <= {None}
    positives = np.array([labels[validation].sum(axis=0) for _, validation in parts])
    assert (np.ptp(positives, axis=0) <= 2 + 0.5 * positives.mean(axis=0)).all()  # of each class, whatever the patients


# ------------------------------------------------------------------------------------------------------------ networks


@every_network
def test_a_recipe_builds_at_its_full_size(name):
    recipe = RECIPES[name]
    with torch.device("meta"):  # only shapes
        model = new_model(recipe, len(classes_of(recipe).codes)).eval()
        assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
        while hasattr(model, "network"):  # what wraps it computes with numbers
            model = model.network
        logits = model(torch.zeros(2, recipe.input.channels, 640))
    assert logits.shape == (2, {"challenge": 24, "cpsc": 9}[recipe.label_set])


@functools.cache
def hearts(rate=500.0, seconds=(6, 8, 8, 10, 12, 7, 25, 9)):
    """Recordings of as many persons; the same at every rate, sampled otherwise."""
    kinds = [[], ["AF"], ["IAVB"], ["LBBB"], ["PVC"], ["CRBBB"], ["SB"], ["STach"]]
    return [
        make_recording(kinds[k % 8], k, frequency_hz=rate, seconds=length, noise=0) for k, length in enumerate(seconds)
    ]


def a_batch(recipe):
    """Augmented as in training, and labels: each class has positives and negatives."""
    data = stack([prepare(recording, recipe.input) for recording in hearts()], torch.device("cpu"))
    batch = gather(data, np.arange(8), recipe.input, recipe.augmentation, np.random.default_rng(1))
    classes = classes_of(recipe)
    labels = np.arange(8)[:, None] % 4 == np.arange(len(classes.codes)) % 4
    weights = (*class_weights(labels, recipe.training.largest_class_weight), classes.weights)
    labels, *weights = (torch.tensor(array, dtype=torch.float32) for array in (labels, *weights))
    return batch, labels, Weighting(*weights)


@pytest.mark.slow
@every_network
def test_two_steps_lower_each_loss_and_reach_every_parameter(name):
    recipe = tiny(name)
    if "reduction" in recipe.network:  # of so few channels one excitation would be left, and a ReLU may silence it
        recipe = dataclasses.replace(recipe, network={**recipe.network, "reduction": 1})
    batch, labels, weighting = a_batch(recipe)
    assert batch[0].shape[1] == recipe.input.channels
    for phase in {phase.loss: phase for phase in reversed(recipe.training.phases)}.values():
        torch.manual_seed(3)
        model = new_model(recipe, labels.shape[1]).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()  # the steps are compared
        optimizer = OPTIMIZERS[recipe.training.optimizer](
            model.parameters(), phase.learning_rate, weight_decay=recipe.training.weight_decay
        )
        losses = []
        for _ in range(3):
            logits = model(*batch)  # of two heads that learn apart, unless the loss is made for two
            heads = logits.unbind(1) if logits.dim() == 3 and phase.loss != "joint_loss" else [logits]
            loss = sum(LOSSES[phase.loss](head, labels, weighting) for head in heads)
            optimizer.zero_grad()
            loss.backward()
            assert [
                label
                for label, p in model.named_parameters()
                if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
            ] == []
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] > losses[1] > losses[2], phase


def test_patches_of_4096_samples_that_overlap_by_256_and_their_mean():
    """P = ⌈(L − 4096) / (4096 − 256)⌉ + 1 patches."""
    recipe, shapes = RECIPES["se-resnet"], []

    def mean_of_lead_one(x, valid, metadata):
        shapes.extend([x.shape[2]] * len(x))
        return x[:, :1].mean(dim=2)

    for samples in (4095, 4096, 4097, 4096 + 3840, 4096 + 3841, 30_000):
        signal = np.random.default_rng(samples).normal(size=(12, samples)).astype(np.float32)
        data = stack([Prepared(signal, np.ones(12, bool), np.ones(samples, bool))], torch.device("cpu"))
        shapes.clear()
        scores = predict(mean_of_lead_one, data, np.arange(1), recipe.input)
        patches = max(math.ceil((samples - 4096) / (4096 - 256)), 0) + 1
        assert shapes == [4096] * patches
        if samples > 4096:
            starts = [min(k * 3840, samples - 4096) for k in range(patches)]
            rounded = signal[0].astype(np.float16).astype(np.float64)
            expected = np.mean([1 / (1 + np.exp(-rounded[start : start + 4096].mean())) for start in starts])
            assert scores[0, 0] == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------------------------------ trained systems


@dataclass(frozen=True)
class System:
    """A recipe trained on a few recordings, and what training said at the end of each member."""

    name: str
    data: Path
    folder: Path
    trained: tuple[TrainedMember, ...]

    @functools.cached_property
    def ensemble(self):
        return load_ensemble(self.folder)


def trained_system(name: str, data: Path, folder: Path) -> System:
    """One member of each of its recipes, captured on the way to the model folder."""
    recipe, results, real = tiny(name), [], workers.train_member

    def captured(*arguments, **options):
        results.append(real(*arguments, **options))
        return results[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "train_member", captured)
        workers.train_ensemble(
            find_recordings(data),
            folder,
            recipe,
            classes_of(recipe),
            root=data,
            seed=2,
            limit=32,
            jobs=1,
            workers=1,
            log=lambda line: None,
        )
    return System(name, data, folder, tuple(results))


@pytest.fixture(scope="module")
def cpsc(tmp_path_factory) -> Path:
    """27 recordings with the text labels of the unofficial phase, three of each class and some with two."""
    folder = tmp_path_factory.mktemp("cpsc")
    looks_like = {"I-AVB": "IAVB", "Normal": "NSR", "RBBB": "CRBBB", "STD": "TAb", "STE": "QAb"}
    for k in range(27):
        labels = [list(CPSC)[k % 9]] + (["STD"] if k in (9, 15) else [])
        recording = make_recording([looks_like.get(labels[0], labels[0])], k, seconds=7 + k % 5)
        write_mat(
            folder,
            f"A{k + 1:04d}",
            np.rint(recording.signal_mv * 1000).astype(int),
            dx=",".join(labels),
            age=f"{recording.age_years:.0f}",
            sex=recording.sex,
        )
    return folder


@pytest.fixture(scope="module")
def coded(cpsc, tmp_path_factory) -> Path:
    """The same recordings with SNOMED CT codes."""
    folder = shutil.copytree(cpsc, tmp_path_factory.mktemp("coded") / "data")
    for header in find_recordings(folder):
        *lines, dx = header.read_text().splitlines()
        assert dx.startswith("#Dx: ")
        header.write_text("\n".join([*lines, "#Dx: " + ",".join(CPSC[label] for label in dx[5:].split(","))]) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(recipe, data folder) → System; each is trained once."""
    return functools.cache(lambda name, data: trained_system(name, data, tmp_path_factory.mktemp(name) / "model"))


@pytest.fixture(scope="module", params=RECIPES)
def system(request, trained, hospital, cpsc) -> System:
    """Each recipe in turn."""
    return trained(request.param, cpsc if request.param in NINE else hospital)


def scores_of(system: System, recordings) -> np.ndarray:
    ensemble = system.ensemble
    return member_scores(ensemble, stack([prepare(r, *ensemble.inputs) for r in recordings], ensemble.device))


@pytest.mark.slow
def test_a_loaded_model_gives_the_scores_of_its_training(system, tmp_path):
    """Fused and from files, it scores the validation recordings as the network in training did at its best epoch."""
    assert system.ensemble.recipe == tiny(system.name)
    validation = json.loads((system.folder / "splits.json").read_text())["validation_of_member"]
    assert len(validation) == len(system.trained) == len(RECIPES[system.name].parts)
    for member, trained in enumerate(system.trained):
        recordings = [read_recording(system.data / name) for name in validation[str(member)]]
        assert len(recordings) == len(trained.scores) > 0
        scores = scores_of(system, recordings)
        np.testing.assert_allclose(scores[member], trained.scores, atol=2e-5)
    copy = dataclasses.replace(system, folder=shutil.copytree(system.folder, tmp_path / "copy"))
    np.testing.assert_array_equal(scores_of(copy, recordings), scores)
    np.testing.assert_array_equal(labels_of(copy.ensemble, scores), labels_of(system.ensemble, scores))


@pytest.mark.slow
def test_every_epoch_is_told_with_finite_numbers(system):
    for trained in system.trained:
        assert [row["epoch"] for row in trained.history] == [1, 2]
    for row in (row for trained in system.trained for row in trained.history):
        assert all(math.isfinite(row[key]) for key in ("train_loss", "validation_loss", "metric", "threshold"))


@pytest.mark.slow
def test_a_score_depends_on_neither_padding_nor_company(system):
    if system.name not in SINGLE:
        pytest.skip("each of its networks is that of another recipe")
    ensemble = system.ensemble
    recipe = ensemble.recipe.input
    prepared = [prepare(recording, recipe) for recording in hearts(seconds=(5, 10, 31, 8, 125, 7.3))]
    together = stack(prepared, ensemble.device)
    scores = predict(ensemble.models[0], together, np.arange(6), recipe, batch_samples=10**9)
    between_hearts = np.ptp(scores, axis=0).max()
    assert between_hearts > 1e-4
    for row, item in enumerate(prepared):
        alone = predict(ensemble.models[0], stack([item], ensemble.device), np.arange(1), recipe)
        np.testing.assert_allclose(alone[0], scores[row], rtol=0, atol=min(1e-5, 0.01 * between_hearts))


def test_a_recording_that_is_heard_in_part_is_the_first_part():
    """20 s of crnn; the rest does not count, in scores and in training."""
    recipe = tiny("crnn")
    (long,) = hearts(seconds=(31,))
    short = dataclasses.replace(long, signal_mv=long.signal_mv[:, :10_000])
    data = stack([prepare(recording, recipe.input) for recording in (long, short)], torch.device("cpu"))
    torch.manual_seed(0)
    scores = predict(new_model(recipe, 9).eval(), data, np.arange(2), recipe.input)
    np.testing.assert_array_equal(scores[0], scores[1])
    x, valid, _ = gather(data, np.arange(2), recipe.input, recipe.augmentation, np.random.default_rng(0))
    assert torch.equal(x[0], x[1]) and int(valid.sum()) == 20_000


def challenge_call(recording):
    """Header text and ADC units, as the organizers' scripts hand them over."""
    samples = recording.signal_mv.shape[1]
    lines = [f"X.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    header = "\n".join(
        [
            f"X 12 {recording.frequency_hz:g} {samples}",
            *lines,
            f"#Age: {recording.age_years:.0f}",
            f"#Sex: {recording.sex}",
        ]
    )
    return header, np.rint(recording.signal_mv * 1000).astype(np.int16)


@pytest.mark.slow
def test_run_model_takes_every_rate_and_length_and_gives_one_heart_one_score(system, capsys):
    model = team_code.load_model(str(system.folder), LEADS)
    expected = OUTPUT_CODES if RECIPES[system.name].label_set == "challenge" else tuple(sorted(CPSC))
    of_rate = []
    for rate in (500, 257, 1000):
        rows = []
        for recording in hearts(float(rate), (5, 10, 120)):
            codes, labels, scores = team_code.run_model(model, *challenge_call(recording))
            assert tuple(codes) == expected and len(codes) == len(labels) == len(scores)
            assert labels.dtype == np.int64 and set(labels.tolist()) <= {0, 1} and ((scores >= 0) & (scores <= 1)).all()
            rows.append(scores)
        of_rate.append(rows)
    assert capsys.readouterr().err == ""  # none fell back
    of_rate = np.array(of_rate)  # rate, recording, class
    between_hearts = np.ptp(of_rate, axis=1).max()
    # After two epochs on a few recordings, scores of a network with a second head hardly differ.
    assert np.ptp(of_rate, axis=0).max() < 0.1 * between_hearts and between_hearts > 5e-5


@pytest.mark.slow
def test_a_folder_gets_the_rows_of_run_model(system, tmp_path):
    report = classify_folder(system.ensemble, system.data, tmp_path, jobs=1)
    headers = find_recordings(system.data)
    assert report.recordings == len(headers) == len(list(tmp_path.rglob("*.csv"))) and not report.faults
    for path in headers[:4]:
        recording = np.fromfile(path.with_suffix(".mat"), "<i2", offset=24).reshape(-1, 12).T
        codes, labels, scores = team_code.run_model(system.ensemble, path.read_text(), recording)
        name, *lines = (tmp_path / f"{path.stem}.csv").read_text().splitlines()
        assert name == f"#{path.stem}" and lines[0].split(",") == codes and lines[1] == ",".join(map(str, labels))
        np.testing.assert_allclose([float(score) for score in lines[2].split(",")], scores, atol=1e-5)


@pytest.mark.slow
def test_a_variable_chooses_the_recipe_of_the_organizers_scripts(hospital, tmp_path, monkeypatch):
    for variable, value in dict(RECIPE="cnn-gru", MEMBERS=1, EPOCHS=1, WIDTH=2, LIMIT=12, DEVICE="cpu", JOBS=1).items():
        monkeypatch.setenv(f"TWELVELEAD_{variable}", str(value))
    team_code.training_code(str(hospital), str(tmp_path / "model"))
    ensemble = team_code.load_model(str(tmp_path / "model"))
    assert ensemble.recipe == RECIPES["cnn-gru"].scaled(members=1, epochs=1, width=2)


# -------------------------------------------------------------------------------------------------------- nine classes


@pytest.fixture(scope="module", params=NINE)
def spelled(request, trained, cpsc, coded) -> dict[str, System]:
    """A nine-class recipe trained on text labels, and on the same recordings with SNOMED CT codes."""
    return {"text": trained(request.param, cpsc), "codes": trained(request.param, coded)}


@pytest.mark.slow
def test_text_labels_and_codes_train_one_model_with_rows_sorted_by_spelling(spelled):
    text, codes = spelled["text"].ensemble, spelled["codes"].ensemble
    assert text.classes.outputs == ("AF", "I-AVB", "LBBB", "Normal", "PAC", "PVC", "RBBB", "STD", "STE")
    assert codes.classes.outputs == tuple(sorted(CPSC.values())) and text.classes.codes == codes.classes.codes
    np.testing.assert_array_equal(text.thresholds, codes.thresholds)
    order = [codes.classes.outputs.index(CPSC[label]) for label in text.classes.outputs]
    assert order != sorted(order)
    for recording in hearts()[:4]:
        name_row, code_row = (team_code.run_model(model, *challenge_call(recording)) for model in (text, codes))
        np.testing.assert_array_equal(name_row[1], code_row[1][order])
        np.testing.assert_array_equal(name_row[2], code_row[2][order])


@pytest.mark.slow
def test_the_unofficial_evaluator_scores_what_a_nine_class_model_writes(spelled, tmp_path, capsys):
    """F2 and G2 by the phase's text, recording by recording; the same for both spellings."""
    results = {}
    for spelling, system in spelled.items():
        outputs, scores = tmp_path / spelling, tmp_path / f"{spelling}.json"
        # thresholds from a handful of recordings may say no to everything, and then there is little to count
        usual = np.median(scores_of(system, [read_recording(path) for path in find_recordings(system.data)])[0], axis=0)
        classify_folder(dataclasses.replace(system.ensemble, thresholds=usual), system.data, outputs, jobs=1)
        command = [system.data, outputs, "--year", "unofficial", "--strict", "--json", scores]
        assert evaluate_model.main(list(map(str, command))) == 0
        results[spelling] = json.loads(scores.read_text())
    text, codes = results["text"], results["codes"]
    assert text["classes"] == sorted(CPSC) and codes["classes"] == sorted(CPSC.values())
    for key in ("auroc", "f_beta_measure", "g_beta_measure", "geometric_mean", "accuracy"):
        assert text[key] == pytest.approx(codes[key], abs=1e-12)

    system = spelled["text"]
    tp, fp, fn = (dict.fromkeys(CPSC, 0.0) for _ in range(3))
    for header in find_recordings(system.data):
        truth = set(read_recording(header).codes)
        _, names, labels, _ = (tmp_path / "text" / f"{header.stem}.csv").read_text().splitlines()
        said = {name for name, label in zip(names.split(","), labels.split(",")) if label == "1"}
        for count, counted in ((tp, truth & said), (fp, said - truth), (fn, truth - said)):
            for name in counted:
                count[name] += 1 / len(truth)
    f2 = np.mean([5 * tp[k] / (5 * tp[k] + 4 * fn[k] + fp[k]) for k in CPSC])
    g2 = np.mean([tp[k] / (tp[k] + fp[k] + 2 * fn[k]) for k in CPSC])
    assert text["f_beta_measure"] == pytest.approx(f2) and text["g_beta_measure"] == pytest.approx(g2)
    assert text["geometric_mean"] == pytest.approx(math.sqrt(f2 * g2)) and 0 < g2 < 1


# ------------------------------------------------------------------------------------------------ a system of one's own

DOCUMENT = ROOT / "docs" / "own-system.md"


def blocks(language: str) -> list[str]:
    """The code blocks of one language in the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def patched(text: str, diff: str) -> str:
    """A file's text after a diff without line numbers; hunks are separated by blank lines, and each occurs once."""
    for hunk in diff.strip("\n").split("\n\n"):
        before, after = (
            "\n".join(line[1:] for line in hunk.splitlines() if not line.startswith(mark)) for mark in ("+", "-")
        )
        assert text.count(before) == 1, f"the document changes what is not in the file:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.mark.slow
def test_a_system_of_ones_own_is_one_file_and_one_value(hospital, tmp_path):
    """The steps of docs/own-system.md in a copy of the package: a file in models/, its registration, a recipe."""
    for name in ("twelvelead", "weights.csv", "train_model.py", "driver.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    package = tmp_path / "twelvelead"
    network, *values = blocks("python")  # the recipe's value, and one that joins it with another
    (diff,) = blocks("diff")
    (package / "models" / "power.py").write_text(network)
    registry = package / "models" / "__init__.py"
    registry.write_text(patched(registry.read_text(), diff))
    with open(package / "recipes.py", "a") as file:
        file.write("\n".join(values))

    small = dict(RECIPE="power", EPOCHS=2, LIMIT=24, DEVICE="cpu", JOBS=1, WORKERS=1)
    settings = {f"TWELVELEAD_{name}": str(value) for name, value in small.items()}
    for script in (["train_model.py", hospital, "model"], ["driver.py", "model", hospital, "outputs"]):
        subprocess.run(
            [sys.executable, *map(str, script)],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **settings},
        )
    assert len(list((tmp_path / "model").glob("member_*.safetensors"))) == 3
    rows = {path.read_text().splitlines()[3] for path in (tmp_path / "outputs").glob("*.csv")}
    assert len(rows) == len(find_recordings(hospital))  # each recording has scores of its own
