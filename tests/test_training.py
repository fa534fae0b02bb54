"""One member: it learns, it resumes where it was killed, it stops in time, and it keeps its best weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twelvelead import training
from twelvelead.batches import Data, epoch_order, gather, predict, stack
from twelvelead.budget import affordable
from twelvelead.classes import Classes
from twelvelead.recipes import Augmentation, Input, Phase, get_recipe
from twelvelead.signals import Prepared
from twelvelead.training import NaNLoss, train_member

CLASSES = Classes(("426783006", "164889003", "270492004"), np.array([[1, .3, .4], [.3, 1, .2], [.4, .2, 1]]))
RECIPE = dataclasses.replace(
    get_recipe("butt").scaled(epochs=6, width=4), network=dict(width=4, levels=3, convolutions=2, kernel=7))


def toy(count=96, seed=0, seconds=4.0) -> tuple[Data, np.ndarray]:
    """Recordings whose class is the frequency of their wave, of several lengths, some with missing samples."""
    random = np.random.default_rng(seed)
    labels = np.zeros((count, 3), dtype=bool)
    labels[np.arange(count), np.arange(count) % 3] = True
    items = []
    for row in labels:
        samples = int(125 * seconds * random.uniform(0.6, 1.4))
        wave = np.sin(2 * np.pi * (2 + 6 * row.argmax()) * np.arange(samples) / 125 + random.uniform(0, 6))
        signal = (wave + random.normal(size=(12, samples)) * 0.3).astype(np.float32)
        valid = np.ones(samples, dtype=bool)
        if random.random() < 0.2:
            valid[20:40] = False
            signal[:, 20:40] = 0
        items.append(Prepared(signal, np.ones(12, dtype=bool), valid))
    return stack(items, torch.device("cpu")), labels


def run(folder, recipe=RECIPE, data_labels=None, **options):
    data, labels = data_labels or toy()
    rows = np.arange(len(labels))
    lines: list[str] = []
    trained = train_member(data, labels, rows[:72], rows[72:], recipe, CLASSES, seed=3, member=1,
                           checkpoint=folder / "c.checkpoint", log=lines.append, **options)
    return trained, lines


def same(a, b) -> bool:
    return a.state.keys() == b.state.keys() and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def history(trained):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history]


def test_a_member_learns_to_tell_waves_apart(tmp_path):
    trained, lines = run(tmp_path, RECIPE.scaled(epochs=12))
    data, labels = toy()
    assert (trained.scores.argmax(1) == labels[72:].argmax(1)).mean() > 0.9
    assert len(trained.history) == 12 and len(lines) == 12  # one line an epoch
    assert {row["loss"] for row in trained.history} == {"weighted_cross_entropy", "challenge_metric"}


def test_equal_seeds_give_equal_members_and_others_do_not(tmp_path):
    a, _ = run(tmp_path / "..")
    (tmp_path / ".." / "c.checkpoint").unlink()
    b, _ = run(tmp_path)
    assert same(a, b) and history(a) == history(b)
    data, labels = toy()
    rows = np.arange(len(labels))
    other = train_member(data, labels, rows[:72], rows[72:], RECIPE, CLASSES, seed=3, member=2,
                         checkpoint=tmp_path / "other", log=lambda line: None)
    assert not same(a, other)


@pytest.mark.parametrize("batches_before_the_kill", [1, 3, 7, 13, 17])
def test_a_killed_member_goes_on_and_ends_where_an_uninterrupted_one_ends(tmp_path, monkeypatch, batches_before_the_kill):
    whole, _ = run(tmp_path / "..")
    (tmp_path / ".." / "c.checkpoint").unlink()
    left = [batches_before_the_kill]
    real = training.gather

    def dying(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "gather", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(training, "gather", real)
    resumed, lines = run(tmp_path)
    assert same(whole, resumed) and history(whole) == history(resumed)
    np.testing.assert_array_equal(whole.scores, resumed.scores)
    if batches_before_the_kill > 3:  # 72 recordings are three batches
        assert "going on" in lines[0]


def test_the_best_weights_are_a_copy(tmp_path, monkeypatch):
    """The member's scores are those of its best epoch, although training went on and got worse."""
    ruinous = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, averaged_epochs=0.0, phases=(
        Phase("weighted_cross_entropy", 1e-3, 8), Phase("challenge_metric", 3.0, 2))))
    trained, _ = run(tmp_path, ruinous)
    metrics = [row["metric"] for row in trained.history]
    data, labels = toy()
    assert metrics[-1] < max(metrics)
    found = training.thresholds.common(training.thresholds.challenge_metric(
        labels[72:], trained.scores, CLASSES.weights, CLASSES.sinus_rhythm))
    assert found.stages[-1][1] == pytest.approx(max(metrics), abs=1e-9)


def test_a_loss_that_is_no_number_stops_with_its_place(tmp_path):
    data, labels = toy()
    data.samples[data.offsets[5]] = float("nan")
    with pytest.raises(NaNLoss, match="member 1, epoch 1.*nan"):
        run(tmp_path, data_labels=(data, labels))


def test_the_schedule_is_scaled_to_the_epochs_allowed(tmp_path):
    asked = []

    def allowed(done, seconds):
        asked.append(done)
        return 4

    trained, _ = run(tmp_path, RECIPE.scaled(epochs=12), epochs_allowed=allowed)
    assert len(trained.history) == 4 and asked == [1, 2, 3]
    assert [row["loss"] for row in trained.history][-1] == "challenge_metric"


def test_when_time_is_out_the_epoch_ends_early_with_usable_weights(tmp_path):
    trained, _ = run(tmp_path, out_of_time=lambda: True)
    assert len(trained.history) == 1 and np.isfinite(trained.scores).all()


def test_without_a_validation_part_the_last_epoch_is_kept(tmp_path):
    data, labels = toy(8)
    trained = train_member(data, labels, np.arange(8), np.arange(0), RECIPE, CLASSES, seed=0, member=0,
                           checkpoint=tmp_path / "c", log=lambda line: None)
    assert trained.scores.shape == (0, 3) and trained.state


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    (tmp_path / "c.checkpoint").write_bytes(b"nonsense")
    with pytest.raises(training.UserError, match="checkpoint cannot be read"):
        run(tmp_path)


# ------------------------------------------------------------------------------------------------------------- batches


def test_an_epoch_visits_every_recording_once_and_keeps_lengths_together():
    random = np.random.default_rng(0)
    lengths, rows = random.integers(500, 9000, 2000), np.arange(100, 1900)
    batches = epoch_order(lengths, rows, 32, random)
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
    item = Prepared(np.tile(np.sin(2 * np.pi * 2 * t), (12, 1)).astype(np.float32), np.ones(12, bool), np.ones(1280, bool))
    data = stack([item] * 64, torch.device("cpu"))
    augmentation = Augmentation(stretch=0.1, stretch_probability=0.8, gain=0.2, gain_probability=0.8)
    x, valid, _ = gather(data, np.arange(64), Input(), augmentation, np.random.default_rng(0))
    lengths = valid.sum(1).numpy() / 1280
    assert 0.895 < lengths.min() < 0.95 and 1.05 < lengths.max() < 1.105 and (lengths == 1).mean() == pytest.approx(0.2, abs=.15)
    peaks = x.abs().amax(2)
    assert 0.78 < float(peaks.min()) < 0.9 and 1.1 < float(peaks.max()) < 1.22 and float(peaks.std(1).mean()) > 0.05
    row = int(lengths.argmax())
    spectrum = np.abs(np.fft.rfft(x[row, 0].numpy(), 2 ** 16))
    assert spectrum.argmax() * 125 / 2 ** 16 == pytest.approx(2 / lengths[row], rel=0.02)


def test_long_recordings_are_trained_on_in_random_pieces():
    item = Prepared(np.tile(np.arange(20000) / 20000, (12, 1)).astype(np.float32), np.ones(12, bool), np.ones(20000, bool))
    data = stack([item], torch.device("cpu"))
    starts = set()
    for seed in range(5):
        x, valid, _ = gather(data, np.array([0]), Input(), None, np.random.default_rng(seed))
        assert (x.shape[2] if valid is None else int(valid.sum())) == 90 * 125
        starts.add(float(x[0, 0, 0]))
    assert len(starts) == 5


def test_long_recordings_are_scored_in_pieces_joined_by_the_maximum():
    random = np.random.default_rng(0)
    long = Prepared(random.normal(size=(12, 125 * 200)).astype(np.float32), np.ones(12, bool), np.ones(125 * 200, bool))
    data = stack([long], torch.device("cpu"))

    def loudest(x, valid, side):
        return x.amax(2)[:, :3]

    scores = predict(loudest, data, np.arange(1), Input())
    expected = torch.sigmoid(torch.from_numpy(long.signal[:3].astype(np.float16)).float().amax(1))
    np.testing.assert_allclose(scores[0], expected, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 5000, 10 ** 9])
def test_scores_do_not_depend_on_how_recordings_are_batched(limit):
    data, _ = toy(9)
    torch.manual_seed(0)
    model = training.new_model(RECIPE, 3).eval()
    rows = np.array([4, 0, 8, 2])
    np.testing.assert_allclose(predict(model, data, rows, Input(), limit), predict(model, data, rows, Input()), atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- budget


def test_a_budget_takes_epochs_first_then_members_and_always_leaves_one():
    assert affordable(1e6, 10, 11, 95) == (11, 95)
    members, epochs = affordable(10 * 11 * 50, 10, 11, 95)
    assert members == 11 and epochs == 50
    members, epochs = affordable(10 * 11 * 20, 10, 11, 95)
    assert members < 11 and 32 <= epochs <= 95 and members * epochs <= 220
    assert affordable(0, 10, 11, 95) == (1, 1)
    assert affordable(-5, 10, 11, 95, done=7) == (1, 7)
