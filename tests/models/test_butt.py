"""The BUTT network against the description in its paper, and the metadata that we added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import described, network, parameters, shapes, used

from twelvelead.errors import UserError
from twelvelead.models import build
from twelvelead.preprocessing.prepare import metadata_of
from twelvelead.recipe import METADATA


def test_butt_has_the_parameters_of_the_description():
    """Counted from the text of the paper: stem, levels, top, units; weights, biases, batch norm's two each."""

    def count(n, leads=12, classes=24, levels=6, convolutions=3, f=7):
        def conv(a, b):
            return a * b * f + b + 2 * b

        total, channels = conv(leads, n), n
        for i in range(1, levels + 1):
            total += conv(channels, i * n) + (convolutions - 1) * conv(i * n, i * n)
            channels = n + 2 * i * n  # global skip, output, input of the second convolution
        return total + conv(channels, levels * n) + levels * n * classes + classes

    for n in (12, 30, 48):
        assert parameters(described("butt", 12, 24, width=n)) == count(n)
    assert round(count(30) / 1e6, 2) == 2.67 and round(count(48) / 1e6, 1) == 6.8


def test_butt_has_the_shapes_of_the_description():
    layers = ["stem", *(f"levels.{i}" for i in range(6)), "top", "head"]
    assert shapes(described("butt", 12, 24), layers, 12, 1250) == [
        (30, 1280),
        (30, 1280),
        (60, 640),
        (90, 320),
        (120, 160),
        (150, 80),
        (180, 40),
        (180, 20),
        (24,),
    ]


def test_the_head_is_independent_for_each_class():
    model = network("butt").train()
    logits = model(torch.randn(2, 12, 128))
    logits[:, 3].sum().backward()
    touched = model.head.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [k == 3 for k in range(24)]


def test_global_skip_reaches_every_level():
    """With all convolutions of the levels silenced, the stem's signal still reaches the top."""
    model = network("butt").eval()
    for level in model.levels:
        for convolution in level.convolutions:
            torch.nn.init.zeros_(convolution.conv.weight)
            torch.nn.init.constant_(convolution.norm.bias, -1.0)
    x = torch.randn(1, 12, 128)
    assert (model(x) - model(2 * x)).abs().max() > 1e-6


def test_metadata_features_use_age_sex_and_amplitude():
    """Every value of the metadata changes the score of every class; what is unknown counts as nothing."""
    silent, model = network("butt").eval(), used(network("butt", metadata_features=16))
    assert parameters(model) - parameters(silent) == 7 * 16 + 16 + 16 * 24
    x = torch.randn(1, 12, 300)
    facts = [
        metadata_of(np.nan, "unknown"),
        metadata_of(30, "female", 1.0),
        metadata_of(80, "female", 1.0),
        metadata_of(30, "male", 1.0),
        metadata_of(30, "female", 0.3),
        metadata_of(30, "unknown", 1.0),
        metadata_of(30, "female"),
    ]
    with torch.no_grad():
        logits = model(x.expand(len(facts), -1, -1), None, torch.from_numpy(np.stack(facts)))
        unknown = model(x)
        assert torch.equal(silent(x, None, torch.rand(1, METADATA)), silent(x))
    torch.testing.assert_close(logits[:1], unknown, rtol=0, atol=1e-5)
    for a in range(len(facts)):
        for b in range(a):
            assert ((logits[a] - logits[b]).abs() > 1e-5).all(), (a, b)


def test_the_layer_of_metadata_features_is_trained():
    model = network("butt", metadata_features=3).train()
    torch.manual_seed(1)
    model(torch.randn(8, 12, 320), None, torch.randn(8, METADATA)).square().sum().backward()
    assert [label for label, p in model.named_parameters() if not p.grad.any()] == []


def with_beat(samples=112):
    torch.manual_seed(0)
    beat = dict(beat_samples=samples, beat_width=6, beat_features=16)
    return build("butt", leads=12, classes=5, width=4, metadata_features=8, metadata_numbers=13, **beat)


def test_the_networks_of_signal_and_beat_learn_apart_and_score_together():
    model, x, metadata = with_beat(), torch.randn(3, 12, 640), torch.randn(3, 13 + 112 * 12)
    apart = model.train()(x, None, metadata)
    assert apart.shape == (3, 2, 5)
    signal, beat = list(model.levels.parameters()), list(model.beat.parameters())
    for head, learns, does_not in ((0, signal, beat), (1, beat, signal)):
        gradients = torch.autograd.grad(apart[:, head].square().sum(), learns + does_not, retain_graph=True)
        assert any(gradient.any() for gradient in gradients[: len(learns)])
        assert not any(gradient.any() for gradient in gradients[len(learns) :])
    model.eval()
    known = model.metadata(metadata[:, :13])
    beat = model.beat(metadata[:, 13:], known)
    signal = 2 * model(x, None, metadata) - beat
    other = torch.cat([metadata[:, :13], torch.randn(3, 112 * 12)], dim=1)
    torch.testing.assert_close(2 * model(x, None, other) - model.beat(other[:, 13:], known), signal)


def test_a_beat_that_is_not_known_is_zero():
    model, x = with_beat().eval(), torch.randn(2, 12, 640)
    torch.testing.assert_close(model(x), model(x, None, torch.zeros(2, 13 + 112 * 12)))


@pytest.mark.parametrize("samples", [1, 53, 112, 230])
def test_an_average_beat_of_any_number_of_samples_is_taken(samples):
    model = with_beat(samples).eval()
    assert model(torch.randn(2, 12, 640), None, torch.randn(2, 13 + samples * 12)).shape == (2, 5)


def test_without_metadata_features_there_is_no_network_of_the_beat():
    model = build("butt", leads=12, classes=5, width=4, beat_samples=112, beat_features=16)
    assert model.beat is None


@pytest.mark.parametrize("wrong", [dict(beat_width=0), dict(dropout=1.5), dict(dropout=-0.1)])
def test_impossible_options_of_the_beats_network_are_one_line(wrong):
    options = dict(metadata_features=8, beat_samples=112, beat_features=16, **wrong)
    with pytest.raises(UserError, match=r"network 'butt': beat_width .* dropout from 0 to 1"):
        build("butt", leads=12, classes=5, width=4, **options)
