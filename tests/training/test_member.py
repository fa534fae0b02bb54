"""One member: it learns, it resumes where it was killed, it stops in time, and it keeps its best weights."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from twelvelead import models
from twelvelead.data.classes import Classes
from twelvelead.errors import UserError
from twelvelead.evaluation.metrics import auprc, macro
from twelvelead.inference.predict import PackedRecordings, predict, stack
from twelvelead.models.layers import mean_over_time
from twelvelead.models.network import new_model
from twelvelead.preprocessing.prepare import Prepared, windows_of
from twelvelead.recipes import Augmentation, Input, Phase, get_recipe
from twelvelead.thresholds.objectives import challenge_objective
from twelvelead.thresholds.search import Thresholds, common
from twelvelead.training import epoch, member_data, training_state
from twelvelead.training.batches import epoch_order, gather
from twelvelead.training.losses import LOSSES
from twelvelead.training.member import NaNLossError, train_member
from twelvelead.training.run import TrainingRun
from twelvelead.training.schedule import WARM_UP
from twelvelead.training.time_budget import Deadline, EpochBudget, affordable

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

CLASSES = Classes(("426783006", "164889003", "270492004"), np.array([[1, 0.3, 0.4], [0.3, 1, 0.2], [0.4, 0.2, 1]]))
RECIPE = dataclasses.replace(
    get_recipe("butt-2020").scaled(epochs=6, width=4), network=dict(width=4, levels=3, convolutions=2, kernel=7)
)


def toy(count=96, seed=0, seconds=4.0) -> tuple[PackedRecordings, np.ndarray]:
    """Recordings whose class is the frequency of their wave, of several lengths, some with missing samples."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, 3), dtype=bool)
    labels[np.arange(count), np.arange(count) % 3] = True
    items = []
    for row in labels:
        samples = int(125 * seconds * rng.uniform(0.6, 1.4))
        wave = np.sin(2 * np.pi * (2 + 6 * row.argmax()) * np.arange(samples) / 125 + rng.uniform(0, 6))
        signal = (wave + rng.normal(size=(12, samples)) * 0.3).astype(np.float32)
        valid = np.ones(samples, dtype=bool)
        if rng.random() < 0.2:
            valid[20:40] = False
            signal[:, 20:40] = 0
        items.append(Prepared(signal, np.ones(12, dtype=bool), valid))
    return stack(items, torch.device("cpu")), labels


def run(folder, recipe=RECIPE, data_labels=None, **options):
    data, labels = data_labels or toy()
    rows = np.arange(len(labels))
    lines: list[str] = []
    trained = train_member(
        data,
        labels,
        rows[:72],
        rows[72:],
        recipe,
        CLASSES,
        seed=3,
        member=1,
        checkpoint=folder / "c.checkpoint",
        log=lines.append,
        **options,
    )
    return trained, lines


def same(a, b) -> bool:
    return a.state.keys() == b.state.keys() and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def history(trained):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history]


@pytest.mark.slow
def test_a_member_learns_to_tell_waves_apart(tmp_path):
    trained, lines = run(tmp_path, RECIPE.scaled(epochs=12))
    _, labels = toy()
    assert (trained.scores.argmax(1) == labels[72:].argmax(1)).mean() > 0.9
    assert len(trained.history) == 12 and len(lines) == 12  # one line an epoch
    assert {row["loss"] for row in trained.history} == {"weighted_cross_entropy", "challenge_loss"}


def test_gradients_that_keep_their_memory_teach_the_same(tmp_path, monkeypatch):
    """As for the graphs of a GPU: gradients are set to zero in place."""

    class Unrecorded:
        def __init__(self, backward):
            self.backward = backward

    expected, _ = run(tmp_path)
    (tmp_path / "c.checkpoint").unlink()
    real = training_state.TrainingState.__init__

    def recorded(state, *arguments):
        real(state, *arguments)
        state.recorded = True

    monkeypatch.setattr(training_state.TrainingState, "__init__", recorded)

    def plain(parameters, fused, **options):  # a fused step rounds in another way
        assert fused
        return torch.optim.AdamW(parameters, **options)

    monkeypatch.setattr(epoch, "BatchGraphs", Unrecorded)
    monkeypatch.setitem(training_state.OPTIMIZERS, "adamw", plain)
    trained, _ = run(tmp_path)
    assert same(trained, expected)


@pytest.mark.slow
def test_equal_seeds_give_equal_members_and_others_do_not(tmp_path):
    a, _ = run(tmp_path / "..")
    (tmp_path / ".." / "c.checkpoint").unlink()
    b, _ = run(tmp_path)
    assert same(a, b) and history(a) == history(b)
    data, labels = toy()
    rows = np.arange(len(labels))
    other = train_member(
        data,
        labels,
        rows[:72],
        rows[72:],
        RECIPE,
        CLASSES,
        seed=3,
        member=2,
        checkpoint=tmp_path / "other",
        log=lambda line: None,
    )
    assert not same(a, other)


@pytest.mark.slow
@pytest.mark.parametrize("batches_before_the_kill", [1, 3, 7, 13, 17])
def test_a_killed_member_goes_on_and_ends_where_an_uninterrupted_one_ends(
    tmp_path, monkeypatch, batches_before_the_kill
):
    whole, _ = run(tmp_path / "..")
    (tmp_path / ".." / "c.checkpoint").unlink()
    left = [batches_before_the_kill]
    real = epoch.gather

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(epoch, "gather", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(epoch, "gather", real)
    resumed, lines = run(tmp_path)
    assert same(whole, resumed) and history(whole) == history(resumed)
    np.testing.assert_array_equal(whole.scores, resumed.scores)
    if batches_before_the_kill > 3:  # 72 recordings are three batches
        assert "going on" in lines[0]


@pytest.mark.slow
def test_the_best_weights_are_a_copy(tmp_path, monkeypatch):
    """The member's scores are those of its best epoch, although training went on and got worse."""
    ruinous = dataclasses.replace(
        RECIPE,
        training=dataclasses.replace(
            RECIPE.training,
            averaged_epochs=0.0,
            phases=(Phase("weighted_cross_entropy", 1e-3, 8), Phase("challenge_loss", 3.0, 2)),
        ),
    )
    trained, _ = run(tmp_path, ruinous)
    metrics = [row["metric"] for row in trained.history]
    _, labels = toy()
    assert metrics[-1] < max(metrics)
    found = common(challenge_objective(labels[72:], trained.scores, CLASSES.weights, CLASSES.sinus_rhythm))
    assert found.stages[-1][1] == pytest.approx(max(metrics), abs=1e-9)


def test_a_loss_that_is_no_number_stops_with_its_place(tmp_path):
    data, labels = toy()
    data.samples[data.offsets[5]] = float("nan")
    with pytest.raises(NaNLossError, match=r"member 1, epoch 1.*nan"):
        run(tmp_path, data_labels=(data, labels))


def test_the_schedule_is_scaled_to_the_epochs_allowed(tmp_path):
    asked = []

    def allowed(done, seconds):
        asked.append(done)
        return 4

    trained, _ = run(tmp_path, RECIPE.scaled(epochs=12), epochs_allowed=allowed)
    assert len(trained.history) == 4 and asked == [1, 2, 3]
    assert [row["loss"] for row in trained.history][-1] == "challenge_loss"


def test_epochs_that_did_not_fit_come_back_when_they_do(tmp_path):
    trained, _ = run(tmp_path, RECIPE.scaled(epochs=6), epochs_allowed=lambda done, seconds: 3 if done == 1 else 99)
    assert len(trained.history) == 6


def test_when_time_is_out_the_epoch_ends_early_with_usable_weights(tmp_path):
    trained, _ = run(tmp_path, out_of_time=lambda: True)
    assert len(trained.history) == 1 and np.isfinite(trained.scores).all()


def test_without_a_validation_part_the_last_epoch_is_kept(tmp_path):
    data, labels = toy(8)
    trained = train_member(
        data,
        labels,
        np.arange(8),
        np.arange(0),
        RECIPE,
        CLASSES,
        seed=0,
        member=0,
        checkpoint=tmp_path / "c",
        log=lambda line: None,
    )
    assert trained.scores.shape == (0, 3) and trained.state


@pytest.mark.parametrize("damage", ["nonsense", "short", "another run's"])
def test_a_checkpoint_that_cannot_be_used_is_one_line_and_the_member_starts_anew(tmp_path, damage):
    expected, _ = run(tmp_path)
    checkpoint = tmp_path / "c.checkpoint"
    if damage == "another run's":
        run(tmp_path, RECIPE.scaled(epochs=1), key="another")
    else:
        checkpoint.write_bytes(b"nonsense" if damage == "nonsense" else checkpoint.read_bytes()[:-1000])
    trained, lines = run(tmp_path)
    assert "the checkpoint cannot be used" in lines[0] and "starts anew" in lines[0] and "\n" not in lines[0]
    assert len(lines) == 1 + len(trained.history) and same(trained, expected) and history(trained) == history(expected)


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_one_before_is_kept(tmp_path, monkeypatch):
    """A disk that is full: what torch says then is a RuntimeError of many lines."""
    real, writes = torch.save, []

    def full(values, path):
        writes.append(path)
        if len(writes) == 3:
            Path(path).write_bytes(b"half of it")
            raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0\nframe #0")
        return real(values, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"c\.checkpoint: .*full") as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ["c.checkpoint"]
    monkeypatch.setattr(torch, "save", real)
    resumed, lines = run(tmp_path)
    assert "going on after epoch 2" in lines[0]
    (tmp_path / "whole").mkdir()
    whole, _ = run(tmp_path / "whole")
    assert same(whole, resumed) and history(whole) == history(resumed)


# ------------------------------------------------------------------------------------------------------------ schedules


class Plain(torch.nn.Module):
    """Small and fast; without batch normalisation and dropout a recording's gradient does not depend on its company."""

    def __init__(self, leads, classes):
        super().__init__()
        self.mix, self.head = torch.nn.Conv2d(leads, 5, (1, 7), padding=(0, 3)), torch.nn.Linear(5, classes)

    def forward(self, x, valid=None, metadata=None):
        mask = None if valid is None else valid[:, None, None, :].float()
        x = torch.relu(self.mix(x[:, :, None]))
        return self.head(mean_over_time(x if mask is None else x * mask, mask))


@pytest.fixture
def plain(monkeypatch):
    """A recipe of that network with training values of its own."""
    monkeypatch.setitem(models._REGISTRY, "plain", Plain)

    def recipe(**changes):
        return dataclasses.replace(
            RECIPE,
            network={},
            model="plain",
            training=dataclasses.replace(RECIPE.training, averaged_epochs=0.0, **changes),
        )

    return recipe


def constant(epochs, rate=1e-3, schedule="constant", loss="cross_entropy"):
    return Phase(loss, rate, epochs, schedule)


def scripted(monkeypatch, metrics):
    """Validation finds these metrics, epoch by epoch."""
    values = iter(metrics)
    monkeypatch.setattr(
        member_data, "common", lambda objective: Thresholds(np.full(3, 0.5), (("common", next(values)),))
    )


# the first epoch is the best yet; halving counts from the last best or the last halving
@pytest.mark.slow
@pytest.mark.parametrize(
    "metrics,halved_after",
    [
        ([0.1] * 7, [3, 5]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], []),
        ([0.5, 0.4, 0.6, 0.6, 0.59, 0.1, 0.2], [5]),
        ([0.3, 0.2, 0.4, 0.1, 0.1, 0.1, 0.5], [5]),
    ],
)
def test_the_rate_is_halved_after_so_many_epochs_without_a_better_validation(
    tmp_path, monkeypatch, plain, metrics, halved_after
):
    scripted(monkeypatch, metrics)
    trained, _ = run(tmp_path, plain(phases=(constant(7),), rate_patience=2))
    expected = [1e-3 * 0.5 ** sum(epoch > after for after in halved_after) for epoch in range(1, 8)]
    assert [row["learning_rate"] for row in trained.history] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "metrics,last",
    [([0.1] * 8, 4), ([0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.3, 0.1], 7), ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 8)],
)
def test_training_stops_after_epochs_without_progress_and_keeps_the_best(tmp_path, monkeypatch, plain, metrics, last):
    scripted(monkeypatch, metrics)
    trained, lines = run(tmp_path, plain(phases=(constant(8),), early_stopping_patience=3))
    assert len(trained.history) == last and ("training ends" in lines[-1]) == (last < 8)
    best = int(np.argmax(metrics[:last]))
    scripted(monkeypatch, metrics)
    until_best, _ = run(
        tmp_path / "..",
        plain(phases=(constant(8),), early_stopping_patience=3),
        epochs_allowed=lambda done, seconds: best + 1,
    )
    (tmp_path / ".." / "c.checkpoint").unlink()
    assert same(trained, until_best)


@pytest.mark.slow
def test_the_epoch_that_is_kept_is_the_one_the_recipe_selects(tmp_path, plain):
    phases = (constant(2, 1e-3), constant(2, 0.3))  # the second ruins it
    kept = {}
    for select in ("last", "loss"):
        (tmp_path / select).mkdir()
        trained, _ = run(tmp_path / select, plain(phases=phases, select=select))
        losses = [row["validation_loss"] for row in trained.history]
        positive = toy()[1][72:]
        found = -np.log(np.where(positive, trained.scores, 1 - trained.scores.astype(np.float64))).mean()
        kept[select] = [k for k, loss in enumerate(losses) if found == pytest.approx(loss, rel=1e-3)]
    assert kept["last"] == [3] and kept["loss"] == [int(np.argmin(losses))] != [3]


@pytest.mark.slow
def test_the_epoch_with_the_best_auprc_is_kept_where_a_recipe_says_so(tmp_path, plain):
    recipe = plain(phases=(constant(3, 1e-3), constant(2, 0.3)), select="auprc")
    trained, _ = run(tmp_path, recipe)
    areas = [row["auprc"] for row in trained.history]
    assert areas[-1] != max(areas)  # the last two epochs ruin it
    assert macro(auprc(toy()[1][72:], trained.scores)) == pytest.approx(max(areas))


@pytest.mark.slow
@pytest.mark.parametrize("largest,longest_step", [(None, None), (0.01, 0.01), (1e6, None)])
def test_a_gradient_is_scaled_down_to_the_largest_norm_allowed(tmp_path, monkeypatch, plain, largest, longest_step):
    """One step of plain gradient descent at rate 1 is as long as the gradient."""
    monkeypatch.setitem(training_state.OPTIMIZERS, "sgd", torch.optim.SGD)
    one = dict(phases=(constant(1, 1.0),), optimizer="sgd", batch_size=72, select="last", weight_decay=0.0)
    recipe = plain(**one, largest_gradient=largest)
    torch.manual_seed(epoch.seed_of(3, 1))  # as `run` does for its member
    start = new_model(recipe, 3).state_dict()
    trained, _ = run(tmp_path, recipe)
    moved = torch.cat([(trained.state[name] - value).flatten() for name, value in start.items()])
    if longest_step is not None:
        assert float(moved.norm()) == pytest.approx(longest_step, rel=1e-3)
    else:
        assert float(moved.norm()) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["joint_loss", "weighted_cross_entropy"])
def test_a_member_with_a_second_head_learns_and_is_scored_by_its_decisions(tmp_path, loss):
    training = dataclasses.replace(RECIPE.training, phases=(constant(8, 3e-3, loss=loss),), select="auprc")
    recipe = dataclasses.replace(RECIPE, network={**RECIPE.network, "decision_head": 16}, training=training)
    trained, _ = run(tmp_path, recipe)
    assert macro(auprc(toy()[1][72:], trained.scores)) > 0.9 and trained.scores.shape == (24, 3)
    model = new_model(recipe, 3).eval()
    model.load_state_dict(trained.state)
    data, _ = toy()
    np.testing.assert_allclose(predict(model, data, np.arange(72, 96), recipe.input), trained.scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batches_before_the_kill", [4, 11, 16, 22])
def test_plateaus_stops_and_cosines_are_restored_from_a_checkpoint(
    tmp_path, monkeypatch, plain, batches_before_the_kill
):
    """Killed in any epoch and resumed is as uninterrupted: what is counted, halved and drawn goes on."""
    metrics = [0.3, 0.2, 0.2, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3]
    recipe = plain(
        phases=(constant(5), constant(5, 2e-3, "cosine", "challenge_loss")), rate_patience=2, early_stopping_patience=4
    )
    (tmp_path / "whole").mkdir()
    scripted(monkeypatch, metrics)
    whole, _ = run(tmp_path / "whole", recipe)
    halved = np.array([1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])
    cosine = [0.5 + 0.5 * np.cos(np.pi * (middle - WARM_UP) / (1 - WARM_UP)) for middle in (0.1, 0.3, 0.5)]
    rates = halved * np.array([1e-3] * 5 + [2e-3 * factor for factor in cosine])  # in the middle of each epoch
    assert [row["learning_rate"] for row in whole.history] == pytest.approx(rates.tolist())
    left, real = [batches_before_the_kill], epoch.gather

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments)

    scripted(monkeypatch, metrics)
    monkeypatch.setattr(epoch, "gather", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recipe)
    monkeypatch.setattr(epoch, "gather", real)
    resumed, lines = run(tmp_path, recipe)
    assert f"going on after epoch {batches_before_the_kill // 3}" in lines[0]
    assert same(whole, resumed) and history(whole) == history(resumed)


class Rates(torch.optim.SGD):
    """Notes the learning rate of each step."""

    seen: ClassVar[list[float]] = []

    def step(self, *arguments):
        self.seen.append(self.param_groups[0]["lr"])
        return super().step(*arguments)


@pytest.mark.parametrize("allowed", [8, 3])
def test_a_cosine_rises_from_zero_to_the_rate_and_falls_to_zero_by_batches(tmp_path, monkeypatch, plain, allowed):
    """Also over the epochs that a deadline leaves. Recomputed here: a line up over a tenth, half a cosine down."""
    monkeypatch.setattr(Rates, "seen", [])
    monkeypatch.setitem(training_state.OPTIMIZERS, "rates", Rates)
    recipe = plain(phases=(constant(8, 1e-2, "cosine"),), optimizer="rates", batch_size=8)
    trained, _ = run(tmp_path, recipe, epochs_allowed=lambda done, seconds: allowed)
    rates = np.array(Rates.seen)
    steps = 9 * allowed
    assert len(rates) == steps and len(trained.history) == allowed
    position = np.arange(1, steps + 1) / steps
    expected = 1e-2 * np.where(position < 0.1, position / 0.1, (1 + np.cos(np.pi * (position - 0.1) / 0.9)) / 2)
    told_late = 9 if allowed < 8 else 0  # the deadline was not known in the first epoch
    np.testing.assert_allclose(rates[told_late:], expected[told_late:], atol=1e-12)
    assert rates[0] < 0.2 * 1e-2 and rates[-1] < 1e-6 and rates.max() > 0.98e-2
    assert (np.diff(rates[told_late + rates[told_late:].argmax() :]) < 0).all()


def test_each_phase_has_a_cosine_of_its_own(tmp_path, monkeypatch, plain):
    monkeypatch.setattr(Rates, "seen", [])
    monkeypatch.setitem(training_state.OPTIMIZERS, "rates", Rates)
    run(
        tmp_path,
        plain(
            phases=(constant(2, 1e-2, "cosine"), constant(1, 5e-3), constant(2, 1e-3, "cosine")),
            optimizer="rates",
            batch_size=8,
        ),
    )
    first, middle, last = np.split(np.array(Rates.seen), [18, 27])
    assert first.max() > 0.95e-2 and first[-1] < 1e-9 and (middle == 5e-3).all()
    np.testing.assert_allclose(last, first / 10, atol=1e-12)


# -------------------------------------------------------------------------------------------- what a member learns from


@pytest.mark.slow
@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_taken_in_parts_gives_the_gradient_of_the_whole(tmp_path, monkeypatch, plain, loss, masked):
    """One step of plain gradient descent: the weights afterwards tell the gradient."""
    monkeypatch.setitem(training_state.OPTIMIZERS, "sgd", torch.optim.SGD)
    recipe = plain(phases=(constant(1, 1.0, loss=loss),), optimizer="sgd", batch_size=72, select="last")
    known = np.random.default_rng(0).random((96, 3)) < 0.7 if masked else None
    found = []
    for samples in (10**9, 5000, 1000, 1):  # in one, some, many parts; one recording is the smallest part
        monkeypatch.setattr(epoch, "PART_SAMPLES", samples)
        (tmp_path / str(samples)).mkdir()
        found.append(run(tmp_path / str(samples), recipe, known=known)[0])
    start = new_model(recipe, 3)
    assert any((found[0].state[name] - weights).abs().max() > 1e-3 for name, weights in start.state_dict().items())
    for other in found[1:]:
        for name, weights in found[0].state.items():
            torch.testing.assert_close(other.state[name], weights, rtol=1e-4, atol=1e-6)
        assert other.history[0]["train_loss"] == pytest.approx(found[0].history[0]["train_loss"], rel=1e-5)


@pytest.mark.slow
def test_labels_that_nobody_knows_teach_nothing(tmp_path, plain):
    data, labels = toy()
    known = np.random.default_rng(1).random(labels.shape) < 0.7
    known[72:] = True  # the validation part's metric is of all labels
    other = np.where(known, labels, ~labels)
    assert (other != labels).any()
    recipe = plain(phases=(constant(2, loss="weighted_cross_entropy"), constant(1, loss="challenge_loss")))
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    a, _ = run(tmp_path / "a", recipe, (data, labels), known=known)
    b, _ = run(tmp_path / "b", recipe, (data, other), known=known)
    c, _ = run(tmp_path / "c", recipe, (data, labels))
    assert same(a, b) and history(a) == history(b) and not same(a, c)


def test_what_sources_never_annotate_is_masked_where_the_recipe_says_so():
    headers = ["ptb-xl/g1/HR1.hea", "g1/HR2.hea", "ningbo/JS1.hea", "here/X1.hea"]
    store = types.SimpleNamespace(headers=headers, synthetic=np.zeros(4, bool))
    classes = Classes(("164889003", "426627000", "426783006"), np.eye(3))  # AF, bradycardia, sinus rhythm
    labels = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]], dtype=bool)
    masked = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, unknown_labels="masked"))
    negative = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, unknown_labels="negative"))
    runs = [TrainingRun(Path(), "", "", recipe, classes, 0, [None] * 4, store) for recipe in (negative, masked)]
    assert runs[0].known_labels(labels) is None
    assert runs[1].known_labels(labels).tolist() == [
        [True, False, True],
        [True, False, True],
        [False, True, True],
        [True] * 3,
    ]


def test_sinus_rhythm_is_unknown_where_no_rhythm_is_stated_and_the_recipe_says_so():
    store = types.SimpleNamespace(
        headers=["ptb-xl/HR1.hea", "cpsc_2018/A1.hea", "cpsc_2018/A2.hea", "synthetic"],
        codes=[("426783006",), ("270492004",), ("164889003",), ()],
        synthetic=np.array([False, False, False, True]),
    )
    classes = Classes(("164889003", "270492004", "426783006"), np.eye(3))  # AF, first degree block, sinus rhythm
    unstated = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, unknown_labels="unstated"))
    run = TrainingRun(Path(), "", "", unstated, classes, 0, [None] * 4, store)
    labels = classes.labels(store.codes)
    assert run.known_labels(labels)[:, 2].tolist() == [True, False, True, True]  # all is known of a synthetic heart
    assert run.known_labels(labels)[:, :2].all()


def test_thresholds_are_searched_with_labels_by_heart_rate_where_the_recipe_says_so():
    store = types.SimpleNamespace(rates=np.array([50, 50, 70, 50.0]))
    classes = Classes(("164889003", "426177001", "426783006"), np.eye(3))  # AF, sinus bradycardia, sinus rhythm
    annotated = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]], dtype=bool)

    def truth(**changes):
        voting = dataclasses.replace(RECIPE.voting, **changes)
        training_run = TrainingRun(
            Path(), "", "", dataclasses.replace(RECIPE, voting=voting), classes, 0, [None] * 4, store
        )
        return training_run.threshold_labels(annotated).tolist()

    assert truth(rate_labels=False) == annotated.tolist()
    assert truth(rate_labels=True) == [
        [False, True, False],
        [False, True, True],
        [False, False, True],
        [True, False, False],
    ]


@pytest.mark.slow
def test_a_standardised_input_knows_the_valid_training_samples_alone(tmp_path):
    data, labels = toy()
    data.samples[:, 4] = 0.0  # a lead without a signal
    for row in range(72, 96):  # the validation part is far off
        data.samples[data.offsets[row] : data.offsets[row] + data.lengths[row]] += 100
    data.samples[~data.valid] = 1000
    recipe = dataclasses.replace(RECIPE.scaled(epochs=1), input=Input(standardised=True))
    trained, _ = run(tmp_path, recipe, (data, labels))
    rows = [slice(data.offsets[row], data.offsets[row] + data.lengths[row]) for row in range(72)]
    samples = np.concatenate([data.samples[piece][data.valid[piece]].double().numpy() for piece in rows])
    np.testing.assert_allclose(trained.state["mean"][:, 0], samples.mean(axis=0), atol=1e-4)
    expected = samples.std(axis=0)
    expected[4] = 1.0
    np.testing.assert_allclose(trained.state["deviation"][:, 0], expected, rtol=1e-4)


@pytest.mark.slow
def test_missing_leads_are_filled_by_the_covariance_of_the_valid_training_samples(tmp_path):
    data, labels = toy()
    data.samples[data.offsets[72] :] *= 50  # the validation part
    data.samples[~data.valid] = 1000
    recipe = dataclasses.replace(RECIPE.scaled(epochs=1), input=Input(fill_leads=True))
    trained, _ = run(tmp_path, recipe, (data, labels))
    rows = [slice(data.offsets[row], data.offsets[row] + data.lengths[row]) for row in range(72)]
    samples = np.concatenate([data.samples[piece][data.valid[piece]].double().numpy() for piece in rows])
    np.testing.assert_allclose(trained.state["covariance"], samples.T @ samples / len(samples), rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------- batches


def test_an_epoch_visits_every_recording_once_and_keeps_lengths_together():
    rng = np.random.default_rng(0)
    lengths, rows = rng.integers(500, 9000, 2000), np.arange(100, 1900)
    batches = epoch_order(lengths, rows, 32, rng)
    assert sorted(np.concatenate(batches)) == rows.tolist() and max(map(len, batches)) == 32
    padding = sum(lengths[b].max() * len(b) for b in batches) / lengths[rows].sum()
    assert padding < 1.15


def test_unaugmented_batches_are_the_recordings_themselves():
    data, _ = toy(20)
    x, valid, _ = gather(data, np.array([3, 0, 11, 17]), Input())
    assert x.shape[2] % 64 == 0
    for place, row in enumerate((3, 0, 11, 17)):
        stop = data.lengths[row]
        part = slice(data.offsets[row], data.offsets[row] + stop)
        assert torch.equal(x[place, :, :stop].T, data.samples[part].float() * data.valid[part][:, None])
        assert torch.equal(valid[place, :stop], data.valid[part]) and not valid[place, stop:].any()
        assert not x[place, :, stop:].any()


def test_augmentation_stretches_and_amplifies_within_its_bounds():
    t = np.arange(1280) / 125
    wave = np.tile(np.sin(2 * np.pi * 2 * t), (12, 1)).astype(np.float32)
    item = Prepared(wave, np.ones(12, bool), np.ones(1280, bool))
    data = stack([item] * 64, torch.device("cpu"))
    augmentation = Augmentation(stretch=0.1, stretch_probability=0.8, gain=0.2, gain_probability=0.8)
    x, valid, _ = gather(data, np.arange(64), Input(), augmentation, np.random.default_rng(0))
    lengths = valid.sum(1).numpy() / 1280
    assert 0.895 < lengths.min() < 0.95 and 1.05 < lengths.max() < 1.105
    assert (lengths == 1).mean() == pytest.approx(0.2, abs=0.15)
    peaks = x.abs().amax(2)
    assert 0.78 < float(peaks.min()) < 0.9 and 1.1 < float(peaks.max()) < 1.22 and float(peaks.std(1).mean()) > 0.05
    row = int(lengths.argmax())
    spectrum = np.abs(np.fft.rfft(x[row, 0].numpy(), 2**16))
    assert spectrum.argmax() * 125 / 2**16 == pytest.approx(2 / lengths[row], rel=0.02)


def test_long_recordings_are_trained_on_in_random_pieces():
    ramp = np.tile(np.arange(20000) / 20000, (12, 1)).astype(np.float32)
    item = Prepared(ramp, np.ones(12, bool), np.ones(20000, bool))
    data = stack([item], torch.device("cpu"))
    starts = set()
    for seed in range(5):
        x, valid, _ = gather(data, np.array([0]), Input(), None, np.random.default_rng(seed))
        assert (x.shape[2] if valid is None else int(valid.sum())) == 90 * 125
        starts.add(float(x[0, 0, 0]))
    assert len(starts) == 5


def test_long_recordings_are_scored_in_pieces_joined_by_the_maximum():
    rng = np.random.default_rng(0)
    long = Prepared(rng.normal(size=(12, 125 * 200)).astype(np.float32), np.ones(12, bool), np.ones(125 * 200, bool))
    data = stack([long], torch.device("cpu"))

    def loudest(x, valid, metadata):
        return x.amax(2)[:, :3]

    scores = predict(loudest, data, np.arange(1), Input())
    expected = torch.sigmoid(torch.from_numpy(long.signal[:3].astype(np.float16)).float().amax(1))
    np.testing.assert_allclose(scores[0], expected, atol=1e-6)


SECONDS = [2, 7, 10, 15, 16, 31, 64]


def noises() -> PackedRecordings:
    rng = np.random.default_rng(0)
    items = []
    for seconds in SECONDS:
        samples = round(125 * seconds) + int(rng.integers(-3, 3))
        valid = rng.random(samples) < 0.97
        items.append(Prepared((rng.normal(size=(12, samples)) * valid).astype(np.float32), np.ones(12, bool), valid))
    return stack(items, torch.device("cpu"))


def loudest_and_mean(x, valid, metadata):
    valid = torch.ones_like(x[:, 0], dtype=torch.bool) if valid is None else valid
    mean = (x * valid[:, None]).sum(2) / valid.sum(1, keepdim=True)
    return torch.cat([torch.where(valid[:, None], x, -9).amax(2)[:, :2] - 3, 30 * mean[:, :2]], dim=1)


@pytest.mark.parametrize("join", ["max", "mean", "first"])
@pytest.mark.parametrize("batch_samples", [1, 32 * 1280])
def test_pieces_are_joined_as_a_loop_over_them_does(join, batch_samples):
    recipe, data = Input(longest_s=15, piece_s=10, overlap_s=5, join=join), noises()
    scores = predict(loudest_and_mean, data, np.arange(6, -1, -1), recipe, batch_samples)
    for place, row in enumerate(range(6, -1, -1)):
        part = slice(data.offsets[row], data.offsets[row] + data.lengths[row])
        x, valid = data.samples[part].T.float(), data.valid[part]
        pieces = windows_of(len(valid), 1250, 625) if len(valid) > 1875 else [(0, len(valid))]
        each = np.array(
            [torch.sigmoid(loudest_and_mean(x[None, :, a:b], valid[None, a:b], None))[0] for a, b in pieces]
        )
        expected = {"max": each.max(axis=0), "mean": each.mean(axis=0), "first": each[0]}[join]
        np.testing.assert_allclose(scores[place], expected, atol=1e-5)
        assert (len(pieces) > 1) == (SECONDS[row] > 15)


@pytest.mark.parametrize("join,starts", [("first", 1), ("mean", 12), ("max", 12)])
def test_training_hears_the_first_piece_alone_where_inference_does(join, starts):
    item = Prepared(np.tile(np.arange(2000) / 2048, (12, 1)).astype(np.float32), np.ones(12, bool), np.ones(2000, bool))
    data = stack([item], torch.device("cpu"))
    recipe = Input(longest_s=10, piece_s=8, overlap_s=2, join=join)
    found = set()
    for seed in range(12):
        x, valid, _ = gather(data, np.array([0]), recipe, Augmentation(), np.random.default_rng(seed))
        assert int(valid.sum()) == 1000
        found.add(round(float(x[0, 0, 0]) * 2048))
        assert torch.equal(x[0, 0, :1000] * 2048, min(found) + torch.arange(1000.0)) or join != "first"
    assert len(found) == starts and max(found) <= 1000 and (join != "first" or found == {0})


def test_what_is_known_of_the_person_comes_with_every_piece():
    signal = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    items = [
        Prepared(signal[:, :length], np.ones(12, bool), np.ones(length, bool), np.full(7, k + 1, np.float32))
        for k, length in enumerate((5000, 800, 3000))
    ]
    data = stack(items, torch.device("cpu"))
    recipe = Input(longest_s=15, piece_s=10, overlap_s=5, join="max")
    scores = predict(
        lambda x, valid, metadata: metadata[:, :3] - 2, data, np.array([2, 0, 1]), recipe, batch_samples=4000
    )
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp([-1.0, 1.0, 0.0])), atol=1e-6)
    for row in range(3):
        assert (gather(data, np.array([row]), recipe, Augmentation(), np.random.default_rng(0))[2] == row + 1).all()


@pytest.mark.parametrize("limit", [1, 5000, 10**9])
def test_scores_do_not_depend_on_how_recordings_are_batched(limit):
    data, _ = toy(9)
    torch.manual_seed(0)
    model = new_model(RECIPE, 3).eval()
    rows = np.array([4, 0, 8, 2])
    expected = predict(model, data, rows, Input())
    np.testing.assert_allclose(predict(model, data, rows, Input(), limit), expected, atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- budget


def test_a_budget_takes_epochs_first_then_members_and_always_leaves_one():
    eleven = [1.0] * 11
    assert affordable(1e6, 10, eleven, 95) == (11, 95)
    members, epochs = affordable(10 * 11 * 50, 10, eleven, 95)
    assert members == 11 and epochs == 50
    members, epochs = affordable(10 * 11 * 20, 10, eleven, 95)
    assert members < 11 and 32 <= epochs <= 95 and members * epochs <= 220
    assert affordable(0, 10, eleven, 95) == (1, 1)
    assert affordable(-5, 10, eleven, 95, done=7) == (1, 7)


def test_a_member_that_costs_more_leaves_fewer_epochs_to_the_one_in_training():
    """One that needs three times as long in all: of 100 epochs like the first member's, 25 are for the first."""
    assert affordable(1000, 10, [1.0, 3.0], 60) == (2, 25)
    assert affordable(1000, 10, [1.0, 9.0], 60) == (1, 60)  # with both, neither would get a third of its epochs


def test_members_of_a_slow_recipe_get_their_time_once_it_is_known(monkeypatch):
    """Recipe 0 has 10 epochs of 10 s, recipe 1 has 20 of 15 s; two members of each in turn, and 400 s for them."""
    clock, plan = [0.0], [(10, 10.0), (20, 15.0), (10, 10.0), (20, 15.0)]  # epochs, seconds of each
    monkeypatch.setattr(Deadline, "left", lambda self: self.at - clock[0])
    budget = EpochBudget(range(4), [0, 1, 0, 1], [10, 20, 10, 20], Deadline(400.0), print)
    trained = []
    for place, (epochs, seconds) in enumerate(plan):
        done = 0
        while done < epochs:
            clock[0] += seconds
            done += 1
            epochs = budget.epochs_allowed(place, done, seconds)
        trained.append(done)
    assert 380 <= clock[0] <= 400 and budget.wanted == 4
    assert trained[0] == 10  # as long as nothing is known of recipe 1, all seem to fit
    assert all(done >= epochs / 3 for done, (epochs, _) in zip(trained, plan)) and max(trained[1:]) < 10


def test_a_slow_epoch_changes_no_plan_and_what_did_not_fit_comes_back(monkeypatch):
    """Six members of 10 epochs, 10 s each, and 700 s for them."""
    lines, clock = [], [0.0]
    monkeypatch.setattr(Deadline, "left", lambda self: self.at - clock[0])
    budget = EpochBudget(list(range(6)), [0] * 6, [10] * 6, Deadline(700.0), lines.append)

    def epoch(place: int, done: int, seconds: float) -> int:
        clock[0] += seconds
        return budget.epochs_allowed(place, done, seconds)

    assert [epoch(0, done, 10) for done in (1, 2, 3)] == [10, 10, 10]
    assert epoch(0, 4, 50) == 10 and not lines  # one slow epoch
    assert epoch(0, 5, 50) == 10
    assert (
        epoch(0, 6, 50) == 6 and budget.wanted == 5
    )  # the machine is slow now: ten such epochs are left for six members
    assert lines == ["time budget: members [5] are left out"]
    assert [epoch(0, done, 10) for done in (7, 8, 9)][-1] == 9 and budget.wanted == 6  # 490 s, and it is fast again
    assert lines[1:] == ["time budget: members [5] fit again"]
