"""Augmentation: what is done to a batch is what could happen to a recording, as strong as asked for, and seeded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twelvelead import synthetic
from twelvelead.data.leads import LEADS
from twelvelead.inference.average_beat import average_beat
from twelvelead.inference.predict import PackedRecordings, stack
from twelvelead.preprocessing.heart_rate import RATE_FACTOR
from twelvelead.preprocessing.prepare import Prepared, metadata_of, prepare
from twelvelead.recipe import METADATA, RR_NUMBERS
from twelvelead.recipes import BUTT, Augmentation, Input, get_recipe
from twelvelead.training.augmentation import disturb
from twelvelead.training.batches import gather

RATE = 125.0
EVERYTHING = Augmentation(
    stretch=0.1,
    stretch_probability=0.5,
    gain=0.2,
    gain_probability=0.5,
    shift_probability=0.5,
    crop_s=4,
    crop_probability=0.5,
    band_probability=0.5,
    noise_probability=0.5,
    arm_swap_probability=0.5,
    lead_drop_probability=0.5,
    lead_sets=("I II III aVR aVL aVF", "I II III aVR aVL aVF V2"),
    lead_set_probability=0.5,
    metadata_dropout=0.5,
    beat_dropout=0.5,
)


def electrodes(batch=3, time=1280, seed=0) -> torch.Tensor:
    """Potentials float64 (batch, time, 9) of right arm, left arm, left leg, and six electrodes on the chest."""
    return torch.randn(batch, time, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leads_of(potentials: torch.Tensor) -> torch.Tensor:
    """The twelve leads by their definitions."""
    right, left, leg = potentials[..., :3].unbind(-1)
    limb = [
        left - right,
        leg - right,
        leg - left,
        right - (left + leg) / 2,
        left - (right + leg) / 2,
        leg - (right + left) / 2,
    ]
    return torch.cat([torch.stack(limb, -1), potentials[..., 3:] - ((right + left + leg) / 3)[..., None]], -1)


def disturbed(x, metadata=None, seed=0, rate=RATE, **augmentation):
    metadata = torch.zeros(len(x), METADATA) if metadata is None else metadata
    return disturb(x, metadata, Augmentation(**augmentation), rate, np.random.default_rng(seed))


def recordings(lengths, seed=0, metadata=None) -> PackedRecordings:
    """Noise around 1, so that no sample is zero by chance."""
    rng = np.random.default_rng(seed)
    items = [
        Prepared(
            (1 + 0.2 * rng.normal(size=(12, n))).astype(np.float32),
            np.ones(12, bool),
            np.ones(n, bool),
            np.zeros(METADATA, np.float32) if metadata is None else metadata,
        )
        for n in lengths
    ]
    return stack(items, torch.device("cpu"))


def power(x: torch.Tensor) -> float:
    return float(x.double().square().mean())


def test_without_probabilities_a_batch_is_left_alone():
    x, metadata = torch.randn(4, 640, 12), torch.rand(4, METADATA)
    out, facts = disturbed(x, metadata, noise_db=(0, 0), crop_s=5)
    assert out is x and facts is metadata
    data = recordings([1250, 700, 1281])
    plain, valid, _ = gather(data, np.arange(3), Input())
    nothing = Augmentation(stretch=0.1, gain=0.2, crop_s=2)
    x, still, _ = gather(data, np.arange(3), Input(), nothing, np.random.default_rng(0))
    assert torch.equal(x, plain) and torch.equal(still, valid)


def test_equal_seeds_give_equal_batches_and_others_do_not():
    data = recordings([1250, 900, 3000, 640], metadata=metadata_of(50, "female", 0.9))
    one, same, other = (
        gather(data, np.arange(4), Input(), EVERYTHING, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    for a, b in zip(one, same):
        assert torch.equal(a, b)
    assert one[0].shape != other[0].shape or not torch.equal(one[0], other[0])


# ----------------------------------------------------------------------------------------------------------- electrodes


def test_exchanged_arms_are_what_the_leads_definitions_make_of_exchanged_electrodes():
    potentials = electrodes()
    swapped, _ = disturbed(leads_of(potentials), arm_swap_probability=1.0)
    torch.testing.assert_close(swapped, leads_of(potentials[..., [1, 0, *range(2, 9)]]))
    torch.testing.assert_close(swapped[..., 1], swapped[..., 0] + swapped[..., 2])  # Einthoven: II = I + III
    again, _ = disturbed(swapped, arm_swap_probability=1.0)
    torch.testing.assert_close(again, leads_of(potentials))


def test_arms_are_exchanged_in_as_many_recordings_as_asked_for():
    x = leads_of(electrodes(400, 4))
    out, _ = disturbed(x, arm_swap_probability=0.3)
    exchanged = (out != x).any(2).any(1)
    assert float(exchanged.double().mean()) == pytest.approx(0.3, abs=0.08)
    torch.testing.assert_close(out[exchanged, :, 0], -x[exchanged, :, 0])


def test_the_defaults_lead_sets_are_drawn_for_a_part_of_the_recordings():
    augmentation = get_recipe("butt").augmentation
    x = torch.ones(2000, 5, 12)
    out, _ = disturbed(x, lead_sets=augmentation.lead_sets, lead_set_probability=augmentation.lead_set_probability)
    on = (out != 0).all(1)
    assert torch.equal(out != 0, on[:, None].expand(-1, 5, -1)) and on[:, :6].all()
    assert set(on.sum(1).tolist()) == {6, 7, 12} and (on[:, 7] | ~on[:, 6:].any(1)).all()
    for count in (6, 7):
        share = float((on.sum(1) == count).double().mean())
        assert share == pytest.approx(augmentation.lead_set_probability / 2, abs=0.03)


def test_leads_that_are_off_are_chest_leads_in_as_many_recordings_as_asked_for():
    x = torch.ones(600, 5, 12)
    out, _ = disturbed(x, lead_drop_probability=0.4)
    off = (out == 0).all(1)
    assert torch.equal(out == 0, off[:, None].expand(-1, 5, -1)) and not off[:, :6].any()  # whole leads
    assert float(off.any(1).double().mean()) == pytest.approx(0.4, abs=0.08)
    assert set(off.sum(1).tolist()) == {0, 1, 2, 3, 5, 6}  # some, all but one, all
    assert (off[:, 6:].double().mean(0) > 0.1).all()  # each of them at times
    assert not off.all(0)[6:].any()


def test_each_recording_keeps_one_of_the_lead_sets_as_often_as_another():
    sets = get_recipe("isibrno-2021").augmentation.lead_sets
    out, _ = disturbed(torch.ones(3000, 3, 12), lead_sets=sets)
    kept = (out == 1).all(1)
    assert torch.equal(out, kept[:, None].expand(-1, 3, -1).float())  # whole leads, and nothing else is changed
    drawn = [" ".join(LEADS[k] for k in np.flatnonzero(row)) for row in kept.numpy()]
    assert set(drawn) == set(sets) and [len(names.split()) for names in sets] == [12, 8, 6, 4, 3, 2]
    assert all(drawn.count(names) == pytest.approx(500, abs=80) for names in sets)


def test_flat_leads_stay_flat_through_noise_and_filters():
    x = torch.randn(16, 640, 12)
    x[::2, :, [0, 8]] = 0
    out, _ = disturbed(x, noise_probability=1.0, band_probability=1.0, lead_drop_probability=1.0)
    assert not out[::2, :, [0, 8]].any()
    flat = (out == 0).all(1)
    assert (flat.sum(1)[1::2] >= 1).all() and not flat[1::2, :6].any() and torch.equal((out == 0).any(1), flat)


# ---------------------------------------------------------------------------------------------------- filters and noise


def test_noise_of_each_kind_lies_in_its_band_and_has_the_ratio_asked_for():
    """At 10 dB each kind has a tenth of the signal's power; the signal is one tone, away from all of them."""
    t = torch.arange(1280) / RATE
    x = (torch.cos(2 * torch.pi * 8 * RATE / 1000 * t) * 3)[None, :, None].expand(8, -1, 12)  # 1 Hz
    noise = disturbed(x, noise_probability=1.0, noise_db=(10, 10))[0] - x
    spectrum = torch.fft.rfft(noise.double(), dim=1).abs().square().sum(2) * (2 / 1280**2 / 12) / power(x)
    hz = torch.fft.rfftfreq(1280, 1 / RATE)
    np.testing.assert_allclose(spectrum[:, (hz > 0) & (hz < 0.8)].sum(1), 0.1, rtol=1e-3)  # baseline wander
    np.testing.assert_allclose(spectrum[:, (hz == 0) | (hz > 0.9) & (hz < 15)].sum(1), 0, atol=1e-9)
    muscle_and_hum = spectrum[:, hz > 15]
    np.testing.assert_allclose(muscle_and_hum.sum(1), 0.2, rtol=0.1)
    mains = hz[hz > 15][muscle_and_hum.argmax(1)]
    assert set(mains.round().tolist()) <= {50, 60} and (muscle_and_hum.amax(1) > 0.08).all()


def test_hum_has_the_frequency_of_the_mains_of_either_continent():
    x = torch.randn(1, 1280, 12)
    hz = torch.fft.rfftfreq(1280, 1 / RATE)
    found = set()
    for seed in range(12):
        noise = disturbed(x, seed=seed, noise_probability=1.0, noise_db=(0, 0))[0] - x
        found.add(round(float(hz[torch.fft.rfft(noise[0, :, 0])[hz > 15].abs().argmax() + int((hz <= 15).sum())])))
    assert found == {50, 60}


def noise_to_signal(x, counted):
    noise = disturbed(x, noise_probability=1.0, noise_db=(10, 10))[0] - x
    return float(noise[counted].double().square().mean() / x[counted].double().square().mean())


@pytest.mark.parametrize("what", ["padding", "missing leads"])
def test_neither_padding_nor_missing_leads_change_the_ratio_of_signal_to_noise(what):
    x = torch.randn(64, 1280, 12)
    counted = torch.ones_like(x, dtype=torch.bool)
    if what == "padding":
        counted[:, 500:] = False
    else:
        counted[:, :, 4:] = False
    x = torch.where(counted, x, 0.0)
    assert noise_to_signal(x, counted) == pytest.approx(0.3, rel=0.1)


def test_noise_is_drawn_between_the_ratios_asked_for_and_in_as_many_recordings():
    x = torch.randn(300, 256, 12)
    noise = disturbed(x, noise_probability=0.2, noise_db=(5, 25))[0] - x
    spoilt = (noise.abs() > 1e-4).any(2).any(1)
    assert float(spoilt.double().mean()) == pytest.approx(1 - 0.8**3, abs=0.1)  # three kinds, each on its own
    ratio = noise.square().mean((1, 2))[spoilt] / x.square().mean((1, 2))[spoilt]
    assert 10**-2.6 < float(ratio.min()) < 10**-2 and 10**-1 < float(ratio.max()) < 3 * 10**-0.45


def test_a_band_pass_removes_offsets_keeps_its_band_and_amplifies_nothing():
    t = torch.arange(2560) / RATE
    tone = torch.sin(2 * torch.pi * 7.8125 * t)  # a whole number of periods
    x = (tone + 5)[None, :, None].expand(32, -1, 12)
    out, _ = disturbed(x, band_probability=1.0)
    np.testing.assert_allclose(out, tone[None, :, None].expand_as(out), atol=0.02)
    x = torch.randn(64, 2560, 12)
    before, after = (torch.fft.rfft(y, dim=1).abs() for y in (x, disturbed(x, band_probability=0.5)[0]))
    assert (after <= before + 1e-2).all()
    changed = ((after - before).abs() > 1).any(2).any(1)
    assert float(changed.double().mean()) == pytest.approx(0.5, abs=0.2)
    top = (after / before)[changed][:, -1].mean(1)  # 62.5 Hz: weak under a low-pass of 20 Hz, not under one of 150 Hz
    assert float(top.min()) < 0.1 and float(top.max()) > 0.9


def test_filters_and_noise_leave_padding_and_missing_samples_at_zero():
    rng = np.random.default_rng(0)
    items = []
    for samples in (1250, 600):
        valid = np.ones(samples, bool)
        valid[100:140] = False
        items.append(Prepared((rng.normal(size=(12, samples)) * valid).astype(np.float32), np.ones(12, bool), valid))
    data = stack(items, torch.device("cpu"))
    x, valid, _ = gather(
        data, np.arange(2), Input(), Augmentation(noise_probability=1.0, band_probability=1.0), np.random.default_rng(0)
    )
    assert valid.sum(1).tolist() == [1210, 560]
    assert torch.equal((x == 0).all(1), ~valid)


# ---------------------------------------------------------------------------------------------------------------- facts


def test_hidden_facts_are_zeros_and_unknown_ones_stay_so():
    metadata = torch.from_numpy(np.stack([metadata_of(70, "male", 0.8), metadata_of(np.nan, "unknown")]))
    x = torch.zeros(2, 4, 12)
    assert not disturbed(x, metadata, metadata_dropout=1.0)[1].any()
    many = metadata.repeat(500, 1)
    out = disturbed(torch.zeros(1000, 4, 12), many, metadata_dropout=0.5)[1]
    assert not out[1::2].any() and torch.equal(many, metadata.repeat(500, 1))
    known = out[::2][:, [1, 4, 6]]
    np.testing.assert_allclose(known.mean(0), 0.5, atol=0.1)
    assert len(np.unique(known, axis=0)) == 8  # age, sex and amplitude each on its own


def test_shown_metadata_are_true_but_for_amplitudes_wrong_by_a_decade():
    metadata = torch.from_numpy(metadata_of(70, "male", 0.8)).repeat(2000, 1)
    out = disturbed(torch.zeros(2000, 4, 12), metadata, metadata_dropout=0.3)[1]
    for columns, flag in ((slice(0, 2), 1), (slice(2, 5), 4)):
        shown = out[:, flag] == 1
        assert torch.equal(out[shown, columns], metadata[shown, columns]) and not out[~shown, columns].any()
    off = (out[:, 5] - metadata[:, 5])[out[:, 6] == 1].abs()
    assert float((off > 0).double().mean()) == pytest.approx(0.3, abs=0.05) and 0.8 < float(off.max()) <= 1


# ---------------------------------------------------------------------------------------------------- pieces and shifts


def ramps(lengths) -> PackedRecordings:
    """Recordings whose sample k is k / 2048, exact in half precision up to 2048."""
    items = [
        Prepared(np.tile(np.arange(n) / 2048, (12, 1)).astype(np.float32), np.ones(12, bool), np.ones(n, bool))
        for n in lengths
    ]
    return stack(items, torch.device("cpu"))


def test_a_shift_is_a_rotation():
    lengths = [1250, 700, 1, 2048] * 25
    x, valid, _ = gather(
        ramps(lengths), np.arange(100), Input(), Augmentation(shift_probability=0.5), np.random.default_rng(0)
    )
    starts = []
    for row, length in zip(x[:, 3], lengths):
        samples = (row[:length] * 2048).round().int()
        assert torch.equal(samples, (samples[0] + torch.arange(length)) % length)
        starts.append(float(samples[0]) / length)
    moved = [start for start, length in zip(starts, lengths) if start > 0]
    assert len(moved) / 75 == pytest.approx(0.5, abs=0.15) and min(moved) < 0.15 and max(moved) > 0.85
    assert valid.sum(1).tolist() == lengths


def test_a_shift_takes_the_missing_samples_with_it():
    valid = np.ones(640, bool)
    valid[50:90] = False
    item = Prepared(np.tile((1 + np.arange(640)) * valid / 2048, (12, 1)).astype(np.float32), np.ones(12, bool), valid)
    data = stack([item] * 8, torch.device("cpu"))
    x, there, _ = gather(data, np.arange(8), Input(), Augmentation(shift_probability=1.0), np.random.default_rng(0))
    assert torch.equal((x != 0).all(1), there) and (there.sum(1) == 600).all() and not torch.equal(there[0], there[1])


def test_a_stretched_and_shifted_recording_is_the_stretched_one_begun_elsewhere():
    augmentation = Augmentation(stretch=0.2, stretch_probability=1.0, shift_probability=1.0)
    lengths = [1250] * 20
    x, valid, _ = gather(ramps(lengths), np.arange(20), Input(), augmentation, np.random.default_rng(0))
    for row, there in zip(x[:, 0], valid):
        samples = row[there] * 2048
        step = samples.diff()
        seam = step.abs() > 2  # between the last sample and the first lie up to two
        assert int(seam.sum()) <= 3
        np.testing.assert_allclose(step[~seam][1:-1].median(), 1250 / int(there.sum()), rtol=0.01)
        assert float(samples.max()) > 1245 and float(samples.min()) < 2


def test_crops_are_pieces_of_at_least_the_length_asked_for():
    lengths = [1250, 2000, 600, 400] * 50  # the last is shorter than 4 s and stays whole
    x, valid, _ = gather(
        ramps(lengths), np.arange(200), Input(), Augmentation(crop_s=4, crop_probability=0.5), np.random.default_rng(0)
    )
    found = valid.sum(1).numpy()
    starts = []
    for row, length, full in zip(x[:, 5], found, lengths):
        samples = (row[:length] * 2048).round().int()
        assert torch.equal(samples, samples[0] + torch.arange(length)) and int(samples[-1]) < full
        assert min(full, 500) <= length <= full
        if length < full:
            starts.append(float(samples[0]) / (full - length))
    assert (found.reshape(50, 4)[:, :3] < lengths[:3]).mean() == pytest.approx(0.5, abs=0.12)
    assert (found.reshape(50, 4)[:, 3] == 400).all() and found.reshape(50, 4)[:, 1].min() < 800
    assert min(starts) < 0.1 and max(starts) > 0.9


def test_stretching_slows_the_rate_that_the_network_is_told():
    numbers = np.array([1, 2.0, 0.5, -0.5, 0.5, 0.3], np.float32)
    told = np.concatenate([np.zeros(METADATA, np.float32), numbers])
    unknown = np.zeros(METADATA + RR_NUMBERS, np.float32)
    spec = Input(rr_numbers=True)
    assert spec.metadata_numbers == METADATA + RR_NUMBERS and Input().metadata_numbers == METADATA
    for metadata in (told, unknown):
        data = recordings([1250] * 40, metadata=metadata)
        stretched = Augmentation(stretch=0.1, stretch_probability=1.0)
        _, valid, after = gather(data, np.arange(40), spec, stretched, np.random.default_rng(0))
        factors = valid.sum(dim=1).numpy() / 1250
        assert np.ptp(factors) > 0.1
        expected = np.tile(metadata, (40, 1))
        expected[:, METADATA + 1] -= metadata[METADATA] * RATE_FACTOR * np.log2(factors)
        np.testing.assert_allclose(after, expected, atol=0.01)  # lengths are whole samples
        np.testing.assert_array_equal(data.metadata, np.tile(metadata, (40, 1)))


def test_rr_numbers_are_hidden_together_and_nothing_else_is():
    metadata = torch.full((2000, METADATA + RR_NUMBERS), 2.0)
    x = torch.randn(2000, 4, 12)
    _, after = disturbed(x, metadata, rr_dropout=0.2)
    assert (after[:, :METADATA] == 2).all()
    rows = after[:, METADATA:]
    assert ((rows == 0).all(dim=1) | (rows == 2).all(dim=1)).all()
    assert float((rows == 0).all(dim=1).float().mean()) == pytest.approx(0.2, abs=0.03)
    _, after = disturbed(x, metadata, metadata_dropout=0.5)
    assert (after[:, METADATA:] == 2).all()
    _, after = disturbed(x, metadata[:, :METADATA], rr_dropout=0.2)  # a recipe without them
    assert (after == 2).all()


def test_the_average_beat_is_that_of_the_batch_and_hidden_as_asked():
    prepared = prepare(synthetic.make_recording(["NSR"], seed=0), BUTT.input)
    data, rows = stack([prepared] * 200, torch.device("cpu")), np.arange(200)
    told = BUTT.input.metadata_numbers
    for dropout in (0.0, 0.2):
        changes = Augmentation(gain=0.2, gain_probability=1.0, beat_dropout=dropout)
        x, valid, known = gather(data, rows, BUTT.input, changes, np.random.default_rng(0))
        expected = average_beat(x.transpose(1, 2), valid, RATE, BUTT.input.beat_samples).flatten(1)
        hidden = (known[:, told:] == 0).all(dim=1)
        assert float(hidden.float().mean()) == pytest.approx(dropout, abs=0.08 * (dropout > 0))
        assert torch.equal(known[~hidden, told:], expected[~hidden]) and expected.any(dim=1).all()
        assert torch.equal(known[:, :told], data.metadata)


@pytest.mark.parametrize("rate", [40.0, 100.0, 110.0])
def test_noise_needs_no_tone_for_mains_that_the_sampling_is_too_slow_for(rate):
    x = torch.randn(8, 640, 12)
    for seed in range(4):
        out, _ = disturbed(x, seed=seed, rate=rate, noise_probability=1.0)
        assert torch.isfinite(out).all() and not torch.equal(out, x)
