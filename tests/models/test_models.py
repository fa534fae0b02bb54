"""The networks: their size, their masks, what they are made of. Tests walk the registry."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch
import torch

from twelvelead import models
from twelvelead.errors import UserError
from twelvelead.models.cnn_gru import Attention, BothWays
from twelvelead.models.cpu import scoring_layers, winograd
from twelvelead.models.cpu.winograd import (
    FEWER_OUTPUTS,
    OUTPUTS,
    SCORING_OUTPUTS,
    MinimalConv,
    ScoringConv,
    prepared_for_scoring,
    transforms,
)
from twelvelead.models.layers import ConvNorm, ConvNormReLU, MaskedBatchNorm, halve, halve_mean
from twelvelead.models.network import FilledLeads, Standardised, fuse
from twelvelead.preprocessing.prepare import METADATA, metadata_of

SMALL = {
    "butt": dict(width=4, levels=6),
    "se_resnet": dict(width=4, reduction=1),
    "crnn": dict(width=6, blocks=3, samples=700),
    "cnn_gru": dict(width=6),
}
KNOWS_THE_PERSON = {"se_resnet"}  # the others' papers use the signal alone


def network(name: str, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, leads=12, classes=24, **{**SMALL[name], **options})


def described(name: str, leads: int, classes: int, **options) -> torch.nn.Module:
    """The network at its published size without memory or arithmetic: torch's meta device has only shapes."""
    with torch.device("meta"):
        return models.build(name, leads=leads, classes=classes, **options).eval()


def described_small(name: str) -> torch.nn.Module:
    """All of the published depth, lengths and strides, but few filters."""
    torch.manual_seed(0)
    return models.build(name, leads=12, classes=24, width=8).eval()


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def shapes(model: torch.nn.Module, layers: list[str], leads: int, time: int) -> list[tuple[int, ...]]:
    """Output shapes of these layers for one recording, without the batch and the 1 between channels and time."""
    found = []
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(
            lambda _, __, out: found.append((out if torch.is_tensor(out) else out[0]).shape[1:])
        )
    model(torch.zeros(1, leads, time, device="meta"))
    return [tuple(size for size in shape if size > 1) for shape in found]


def without_dropout(model: torch.nn.Module) -> torch.nn.Module:
    """In training mode, but so that two passes can be compared."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    return model


def used(model: torch.nn.Module) -> torch.nn.Module:
    """The model after a training batch, so that its batch-norm statistics are not the initial ones."""
    model.train()
    model(torch.randn(8, 12, 640) * 3 + 1)
    return model.eval()


def test_every_registered_network_is_tested():
    assert set(SMALL) == set(models.names())


def test_an_unknown_network_or_option_names_what_exists():
    with pytest.raises(UserError, match="butt"):
        models.build("resnet9000", leads=12, classes=24)
    with pytest.raises(UserError, match="colour"):
        models.build("butt", leads=12, classes=24, colour=3)


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


def test_se_resnet_has_the_parameters_of_the_description():
    filters, total = 64, 12 * 64 * 15 + 2 * 64  # no layer before a batch norm has a bias
    for block in range(8):
        before, filters = filters, 64 * 2 ** (block // 2)
        total += before * filters * 7 + 2 * filters + filters * filters * 7 + 2 * filters
        total += 2 * filters * (filters // 16)  # squeeze, excite
        if before != filters:
            total += before * filters + 2 * filters
    total += 5 * 10 + 10 + (512 + 10) * 24 + 24
    assert parameters(described("se_resnet", 12, 24)) == total == 8_837_060


def test_crnn_has_the_parameters_of_the_description():
    convolutions = (12 * 1024 * 5 + 1024) + 6 * (1024 * 1024 * 5 + 1024) + 7 * 2 * 1024
    keras_lstm = 4 * (1024 * 1024 + 1024 * 1024 + 1024)
    head = (1024 * 1024 + 1024) + (1024 * 9 + 9)
    second_bias = 4 * 1024  # torch's LSTM has two
    assert parameters(described("crnn", 12, 9)) == convolutions + keras_lstm + second_bias + head == 40_995_849


def test_cnn_gru_has_the_parameters_of_the_description():
    channels, total = 36, 0
    for _ in range(5):
        total += channels * 256 * 3 + 2 * (256 * 256 * 3) + 3 * 2 * 256 + channels * 256
        channels = 256
    total += 2 * 3 * (256 * 128 + 128 * 128 + 2 * 128)  # two directions, three gates
    total += 256 * 256 + 256 + 256  # attention
    assert parameters(described("cnn_gru", 36, 24)) == total + 256 * 24 + 24 == 3_427_864


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


def test_se_resnet_has_the_shapes_of_the_description():
    layers = ["stem", *(f"blocks.{k}" for k in range(8)), "person", "head"]
    assert shapes(described("se_resnet", 12, 24), layers, 12, 4096) == [
        (64, 2048),
        (64, 1024),
        (64, 1024),
        (128, 512),
        (128, 512),
        (256, 256),
        (256, 256),
        (512, 128),
        (512, 128),
        (10,),
        (24,),
    ]


def test_crnn_has_the_shapes_of_the_description():
    layers = [f"blocks.{k}.{part}" for k in range(7) for part in (0, 3)] + ["lstm", "hidden", "head"]
    steps = [9996, 3331, 3327, 1108, 1104, 367, 363, 120, 116, 38, 34, 10, 6, 4]
    assert shapes(described("crnn", 12, 9), layers, 12, 10_000) == [
        *((1024, n) for n in steps),
        (4, 1024),
        (1024,),
        (9,),
    ]


def test_cnn_gru_has_the_shapes_of_the_description():
    layers = [f"blocks.{k}" for k in range(5)] + ["gru", "attention", "head"]
    assert shapes(described("cnn_gru", 36, 24), layers, 36, 1250) == [  # 5 s, filled up to 40 · 32 samples
        (256, 640),
        (256, 320),
        (256, 160),
        (256, 80),
        (256, 40),
        (40, 256),
        (256,),
        (24,),
    ]


@pytest.mark.parametrize("name", models.names())
def test_scores_depend_on_neither_padding_nor_company(name):
    model = used(network(name))
    lengths = [640, 1, 63, 64, 65, 333, 639]
    x, valid = torch.randn(len(lengths), 12, 640), torch.zeros(len(lengths), 640, dtype=torch.bool)
    for row, length in enumerate(lengths):
        valid[row, :length] = True
    valid[5, 100:140] = False  # samples missing in the middle
    with torch.no_grad():
        batch = torch.sigmoid(model(x, valid))
        for row, length in enumerate(lengths):
            alone = torch.sigmoid(model(x[row : row + 1, :, :length], valid[row : row + 1, :length]))
            padded = torch.sigmoid(
                model(
                    torch.nn.functional.pad(x[row : row + 1, :, :length], (0, 977), value=9.0),
                    torch.nn.functional.pad(valid[row : row + 1, :length], (0, 977)),
                )
            )
            assert (alone - batch[row]).abs().max() < 1e-5 and (padded - batch[row]).abs().max() < 1e-5
        assert (batch[0] - batch[6]).abs().max() > 1e-5  # the test can tell recordings apart


@pytest.mark.parametrize("name", models.names())
def test_what_stands_in_invalid_samples_does_not_matter(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    valid[0, 250:] = valid[1, 40:60] = False
    y = torch.where(valid[:, None], x, torch.full_like(x, 1e4))
    with torch.no_grad():
        assert torch.equal(model(x, valid), model(y, valid))


@pytest.mark.parametrize("name", models.names())
def test_a_mask_that_hides_nothing_changes_nothing(name):
    model = used(network(name))
    x = torch.randn(2, 12, 640)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x, torch.ones(2, 640, dtype=torch.bool)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", models.names())
def test_padding_changes_neither_gradients_nor_batch_statistics_in_training(name):
    def trained(padding):
        model = without_dropout(network(name))
        torch.manual_seed(1)
        x, valid = torch.randn(4, 12, 320), torch.ones(4, 320, dtype=torch.bool)
        x, valid = torch.nn.functional.pad(x, (0, padding), value=5.0), torch.nn.functional.pad(valid, (0, padding))
        model(x, valid if padding else None).square().sum().backward()
        return model

    plain, padded = trained(0), trained(256)
    for (label, a), b in zip(plain.named_parameters(), padded.parameters()):
        scale = float(a.grad.abs().max()) + 0.05  # the bias before a batch norm has no gradient but rounding
        assert float((a.grad - b.grad).abs().max()) < 0.02 * scale, label
    for (label, a), b in zip(plain.named_buffers(), padded.buffers()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=label)


@pytest.mark.parametrize("name", models.names())
def test_every_parameter_has_a_gradient(name):
    model = network(name).train()
    valid = torch.ones(4, 640, dtype=torch.bool)
    valid[0, 500:] = False
    model(torch.randn(4, 12, 640), valid, torch.rand(4, 5)).square().sum().backward()
    assert [
        label
        for label, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ] == []


@pytest.mark.parametrize("name", models.names())
def test_two_steps_of_training_lower_the_loss_each(name):
    model = without_dropout(network(name))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, valid, person = torch.randn(8, 12, 640), torch.ones(8, 640, dtype=torch.bool), torch.rand(8, 7)
    valid[::2, 400:] = False
    labels = (torch.rand(8, 24) > 0.8).float()
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x, valid, person), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("name", models.names())
def test_saved_and_loaded_weights_give_equal_scores(name):
    model = used(network(name))
    torch.manual_seed(5)
    other = models.build(name, leads=12, classes=24, **SMALL[name]).eval()
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    valid[1, 200:] = False
    with torch.no_grad():
        assert not torch.equal(other(x, valid), model(x, valid))
        other.load_state_dict(safetensors.torch.load(safetensors.torch.save(model.state_dict())))
        assert torch.equal(other(x, valid), model(x, valid))


@pytest.mark.parametrize("name", models.names())
def test_any_length_is_taken_at_the_published_settings(name):
    model = described_small(name)
    with torch.no_grad():
        for length in (1, 2, 33, 4097, 12_000):
            assert model(torch.randn(1, 12, length)).isfinite().all(), length


@pytest.mark.parametrize("name", models.names())
def test_a_recording_without_a_valid_sample_does_not_spoil_its_batch(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 320), torch.ones(2, 320, dtype=torch.bool)
    valid[0] = False
    with torch.no_grad():
        logits = model(x, valid)
        assert logits.isfinite().all()
        torch.testing.assert_close(logits[1:], model(x[1:]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", models.names())
def test_age_and_sex_count_where_the_paper_uses_them(name):
    model = used(network(name))
    x = torch.randn(1, 12, 300).expand(3, -1, -1)
    person = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0], [0.7, 1, 0, 1, 1, 0, 0], [0.3, 1, 1, 0, 1, 0, 0]])
    with torch.no_grad():
        logits, unknown = model(x, None, person), model(x[:1])
    torch.testing.assert_close(logits[:1], unknown, rtol=0, atol=1e-5)
    assert ((logits[1] - logits[2]).abs().max() > 1e-4) == (name in KNOWS_THE_PERSON)


@pytest.mark.parametrize("relu", [False, True])
def test_masked_batch_norm_is_batch_norm_of_the_valid_samples_in_its_gradients_too(relu):
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(5).train(), torch.nn.BatchNorm1d(5).train()
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 5))
            norm.bias.copy_(torch.linspace(-1, 1, 5))
    x = (torch.randn(3, 5, 1, 50) * 4 + 2).requires_grad_()
    valid = (torch.rand(3, 1, 1, 50) > 0.3).float()
    out = ours(x, valid, relu=relu)
    assert not out.permute(0, 2, 3, 1)[~valid[:, 0].bool()].any()
    columns = x.permute(0, 2, 3, 1)[valid[:, 0].bool()]  # valid samples, channels
    expected = torch.relu(theirs(columns)) if relu else theirs(columns)
    torch.testing.assert_close(out.permute(0, 2, 3, 1)[valid[:, 0].bool()], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    slope = torch.randn_like(out)
    own = torch.autograd.grad((out * slope).sum(), [x, ours.weight, ours.bias])
    plain = torch.autograd.grad(
        (expected * slope.permute(0, 2, 3, 1)[valid[:, 0].bool()]).sum(), [x, theirs.weight, theirs.bias]
    )
    for one, other in zip(own, plain):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("name", models.names())
def test_folding_batch_norm_keeps_the_scores(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    with torch.no_grad():
        before = torch.sigmoid(model(x, valid))
        after = torch.sigmoid(fuse(model)(x, valid))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert not [m for m in model.modules() if isinstance(m, (ConvNorm, ConvNormReLU)) and m.norm is not None]


@pytest.mark.parametrize("taps, count", sorted({*OUTPUTS.items(), *SCORING_OUTPUTS.items(), *FEWER_OUTPUTS.items()}))
def test_minimal_filtering_is_the_filter(taps, count):
    outputs, of_taps, inputs = transforms(taps, count)
    samples = count + taps - 1
    assert (outputs.shape, of_taps.shape, inputs.shape) == ((count, samples), (samples, taps), (samples, samples))
    generator = torch.Generator().manual_seed(0)
    filter_, signal = (torch.randn(count, generator=generator, dtype=torch.float64) for count in (taps, samples))
    expected = torch.stack([filter_ @ signal[k : k + taps] for k in range(count)])
    torch.testing.assert_close(outputs @ ((of_taps @ filter_) * (inputs @ signal)), expected, rtol=1e-8, atol=1e-8)


def convolutions(taps: int, padding: int, bias: bool = True) -> tuple[MinimalConv, torch.nn.Conv2d]:
    """One that filters minimally, and torch's own in double precision with the same weights."""
    torch.manual_seed(0)
    conv = MinimalConv(100, 90, taps, padding=padding, bias=bias)
    assert conv.is_minimal
    direct = torch.nn.Conv2d(100, 90, (1, taps), padding=(0, padding), bias=bias)
    direct.load_state_dict(conv.state_dict())
    return conv, direct.double()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.detach() - expected.detach()).abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize(
    "taps, padding, batch, time",
    [
        (taps, padding, batch, time)
        for taps, padding in ((3, 1), (5, 2), (7, 3), (5, 0), (7, 0))
        for batch, time in ((1, 1), (1, 3), (2, 8), (3, 13), (1, 7), (2, 14), (2, 66), (2, 1280))
        if time + 2 * padding >= taps
    ],
)
def test_a_convolution_by_minimal_filtering_is_the_convolution_with_its_gradients(taps, padding, batch, time):
    conv, direct = convolutions(taps, padding)
    signal = torch.randn(batch, 100, 1, time)
    for x in (signal, signal.contiguous(memory_format=torch.channels_last)):
        conv.zero_grad()
        direct.zero_grad()
        ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
        out, expected = conv(ours), direct(theirs)
        gradient = torch.randn(out.shape)
        out.backward(gradient)
        expected.backward(gradient.double())
        assert relative_error(out, expected) < 1e-4
        assert relative_error(ours.grad, theirs.grad) < 1e-4
        assert relative_error(conv.weight.grad, direct.weight.grad) < 1e-4
        assert relative_error(conv.bias.grad, direct.bias.grad) < 1e-5
        with torch.inference_mode():
            assert relative_error(ScoringConv(conv)(x), expected) < 1e-4


@pytest.mark.parametrize("limits", [dict(PART=1), dict(KEPT=0), dict(PART=1, KEPT=0)])
def test_minimal_filtering_in_parts_and_without_kept_buffers(limits, monkeypatch):
    conv, _ = convolutions(7, 3)
    conv.padding = (0, 0)  # 54 samples: no zeros are added, neither at the ends nor for the last piece
    x, gradient = torch.randn(5, 100, 1, 54), torch.randn(5, 90, 1, 48)

    def results() -> list[torch.Tensor]:
        signal = x.clone().requires_grad_()
        conv.zero_grad()
        out = conv(signal)
        out.backward(gradient)
        return [out.detach(), signal.grad, conv.weight.grad.clone()]

    before = results()
    winograd._filter.cache_clear()
    for name, value in limits.items():
        monkeypatch.setattr(winograd, name, value)
    monkeypatch.setattr(winograd, "buffer", winograd._Buffers())
    try:
        for found, expected in zip(results(), before):
            assert relative_error(found, expected) < 1e-4
    finally:
        winograd._filter.cache_clear()


def test_scoring_leaves_its_buffers_to_training():
    """A tensor that was made in inference mode could not be written to afterwards."""
    conv, _ = convolutions(7, 3)
    with torch.inference_mode():
        conv(torch.randn(1, 100, 1, 777))
    conv(torch.randn(1, 100, 1, 777)).relu_().sum().backward()  # and what comes out may be changed in place
    assert conv.weight.grad.isfinite().all()


def test_a_convolution_without_bias_or_need_of_its_inputs_gradient():
    conv, direct = convolutions(7, 3, bias=False)
    x = torch.randn(2, 100, 1, 40)
    conv(x).square().sum().backward()
    direct(x.double()).square().sum().backward()
    assert relative_error(conv.weight.grad, direct.weight.grad) < 1e-4
    assert relative_error(ScoringConv(conv)(x), direct(x.double())) < 1e-4


def test_a_signal_shorter_than_the_filter_is_the_same_error_as_ever():
    conv, _ = convolutions(7, 0)
    with pytest.raises(RuntimeError, match="size"):
        conv(torch.randn(1, 100, 1, 6))


@pytest.mark.parametrize(
    "ours, theirs", [(halve, torch.nn.functional.max_pool2d), (halve_mean, torch.nn.functional.avg_pool2d)]
)
def test_halving_is_pooling_by_two(ours, theirs):
    x = torch.randn(2, 5, 1, 12).contiguous(memory_format=torch.channels_last)
    expected = theirs(x, (1, 2))
    assert torch.equal(ours(x), expected)
    with torch.no_grad():
        found = ours(x)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)


def test_other_numbers_than_float32_take_the_direct_convolution():
    conv, direct = convolutions(7, 3)
    x = torch.randn(2, 100, 1, 40, dtype=torch.float64)
    assert torch.equal(conv.double()(x), direct(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv.float()(x.float()).dtype == torch.bfloat16


def scoring_butt(**options) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The network in double precision, as it is trained, and prepared for scoring."""
    torch.manual_seed(0)
    model = used(models.build("butt", leads=12, classes=24, **options))
    return copy.deepcopy(model).double().eval(), prepared_for_scoring(fuse(model.eval()))


@pytest.fixture(params=[True, False], ids=["numpy", "torch"])
def small_kernels(request, monkeypatch):
    """Whose products a network for scoring takes."""
    monkeypatch.setattr(scoring_layers, "SMALL_KERNELS", request.param)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(
    "options",
    [
        dict(width=30),
        dict(width=8, kernel=3),
        dict(width=8, kernel=5, levels=2),
        dict(width=8, convolutions=1),
        dict(width=8, metadata_features=6),
    ],
    ids=str,
)
def test_the_network_for_scoring_gives_the_scores_of_the_network(options):
    model, ready = scoring_butt(**options)
    assert not any(isinstance(module, torch.nn.Conv2d) for module in ready.modules())
    metadata = torch.rand(3, 7)
    for time, lengths in ((640, (640, 640, 640)), (640, (640, 500, 1)), (633, (1, 2, 633)), (1, (1, 1, 1))):
        x, valid = torch.randn(3, 12, time), torch.arange(time)[None, :] < torch.tensor(lengths)[:, None]
        gaps = valid & (torch.rand(3, time) < 0.9)
        gaps[:, 0] = True
        for mask in (None, valid, gaps):
            expected = torch.sigmoid(model(x.double(), mask, metadata.double()))
            torch.testing.assert_close(torch.sigmoid(ready(x, mask, metadata)).double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(torch.sigmoid(ready(x)).double(), torch.sigmoid(model(x.double())), rtol=0, atol=2e-5)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(
    "limits", [dict(PART=1), dict(SMALL_PRODUCT=1), dict(PART=2**16, SMALL_PRODUCT=2**12), dict(KEPT=1)]
)
def test_scores_do_not_depend_on_how_the_work_is_cut(limits, monkeypatch):
    _, ready = scoring_butt(width=30)
    signals = [torch.randn(batch, 12, time) for batch, time in ((1, 128), (5, 1250), (2, 64), (1, 128))]
    before = [ready(x) for x in signals]
    monkeypatch.setattr(scoring_layers, "_plans", scoring_layers._Plans())
    for name, value in limits.items():
        monkeypatch.setattr(scoring_layers, name, value)
    for x, expected in zip(signals, before):
        torch.testing.assert_close(ready(x), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
def test_scores_are_those_of_the_recording_whatever_was_scored_before_or_beside_it():
    """Buffers are used again: nothing of another signal, not even NaN, may be left in them."""
    _, ready = scoring_butt(width=30)
    x, valid = torch.randn(4, 12, 1250), torch.arange(1250)[None, :] < torch.tensor([1250, 1250, 700, 3])[:, None]
    alone = [ready(x[k : k + 1], valid[k : k + 1]) for k in range(4)]
    for mask in (None, torch.rand(4, 1250) < 0.5):
        ready(torch.full((4, 12, 1250), torch.nan), mask)
        torch.testing.assert_close(ready(x, valid), torch.cat(alone), rtol=1e-5, atol=1e-5)
    with ThreadPoolExecutor(4) as threads:
        for k, found in enumerate(
            threads.map(
                lambda k: torch.inference_mode()(ready)(x[k % 4 : k % 4 + 1], valid[k % 4 : k % 4 + 1]), range(40)
            )
        ):
            assert torch.equal(found, alone[k % 4])


@torch.inference_mode()
def test_what_a_buffer_held_before_is_not_computed_with(monkeypatch):
    monkeypatch.setattr(scoring_layers, "SMALL_KERNELS", True)
    monkeypatch.setattr(scoring_layers, "SMALL_PRODUCT", 2**15)  # last chunks are not full
    _, ready = scoring_butt(width=30)
    x = torch.randn(1, 12, 1250)
    expected = ready(x)
    for memory in winograd.buffer.memory.values():
        memory.fill_(3e38)
    with np.errstate(all="raise", under="ignore"):
        assert torch.equal(ready(x), expected)


def test_a_kernel_that_minimal_filtering_does_not_know_stays_a_convolution():
    model = fuse(models.build("butt", leads=12, classes=9, width=4, kernel=13).eval())
    assert prepared_for_scoring(model) is model and model.for_scoring() is None
    unfused = models.build("butt", leads=12, classes=9, width=4).eval()  # its batch normalisation would be lost
    assert unfused.for_scoring() is None


@torch.inference_mode()
@pytest.mark.parametrize("name", models.names())
def test_minimal_filtering_leaves_strides_and_other_kernels_alone(name):
    torch.manual_seed(0)
    model = fuse(models.build(name, leads=12, classes=24, **{**SMALL[name], "width": 60}).eval())
    other = [
        conv
        for conv in model.modules()
        if isinstance(conv, torch.nn.Conv2d) and (conv.kernel_size[1] not in OUTPUTS or conv.stride[1] != 1)
    ]
    x = torch.randn(2, 12, 1024)
    before = model.double()(x.double())
    kept = [conv for conv in prepared_for_scoring(model.float()).modules() if isinstance(conv, torch.nn.Conv2d)]
    assert all(any(conv is one for one in kept) for conv in other)
    torch.testing.assert_close(model(x).double(), before, rtol=1e-3, atol=1e-4)


def test_options_that_make_no_network_are_an_error():
    for name, options in (
        ("butt", dict(kernel=6)),
        ("se_resnet", dict(blocks=0)),
        ("crnn", dict(samples=5000)),
        ("cnn_gru", dict(width=5)),
    ):
        with pytest.raises(UserError, match=name):
            models.build(name, leads=12, classes=24, **options)


def test_crnn_hears_20_seconds_filled_with_zeros():
    """10,000 samples at 500 Hz, whatever comes: as published."""
    model = described_small("crnn")
    x = torch.randn(1, 12, 12_000)
    with torch.no_grad():
        assert torch.equal(model(x), model(x[:, :, :10_000]))
        assert torch.equal(model(x[:, :, :3000]), model(torch.nn.functional.pad(x[:, :, :3000], (0, 7000))))
        assert not torch.equal(model(x), model(x[:, :, :9000]))


def test_the_gru_reads_backwards_from_the_last_valid_step():
    """Oracle: torch's bidirectional GRU over packed sequences."""
    torch.manual_seed(0)
    ours, theirs = BothWays(5, 3), torch.nn.GRU(5, 3, batch_first=True, bidirectional=True)
    for label, weight in ours.onwards.named_parameters():
        getattr(theirs, label).data.copy_(weight)
    for label, weight in ours.backwards.named_parameters():
        getattr(theirs, f"{label}_reverse").data.copy_(weight)
    x, lengths = torch.randn(3, 11, 5), torch.tensor([11, 4, 1])
    valid = torch.arange(11) < lengths[:, None]
    valid[0, 6:8] = False  # a gap inside is read, as it comes
    with torch.no_grad():
        out, whole = ours(x, valid), ours(x, None)
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        torch.testing.assert_close(out[valid], expected[valid])
        torch.testing.assert_close(whole, theirs(x)[0])


def test_attention_is_a_weighted_mean_of_the_valid_steps():
    torch.manual_seed(0)
    attention = Attention(4)
    x, valid = torch.randn(2, 6, 4), torch.arange(6) < torch.tensor([[6], [3]])
    with torch.no_grad():
        out = attention(x, valid)
        for row, length in enumerate((6, 3)):
            steps = x[row, :length]
            keys = torch.tanh(attention.key.weight @ steps.T + attention.key.bias[:, None])
            weights = (attention.query.weight @ keys).exp()
            torch.testing.assert_close(out[row], (weights / weights.sum() @ steps)[0])


# --------------------------------------------------------------------------------------------- what our own recipe adds


def test_butt_hears_of_age_sex_and_amplitude_where_asked_and_counts_them_once():
    """Ours: a layer of `metadata_features` beside the signal's features. Every fact moves every class's score."""
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


def test_butts_facts_are_trained_too():
    model = network("butt", metadata_features=3).train()
    torch.manual_seed(1)
    model(torch.randn(8, 12, 320), None, torch.randn(8, METADATA)).square().sum().backward()
    assert [label for label, p in model.named_parameters() if not p.grad.any()] == []


def test_a_standardised_network_sees_channels_of_mean_0_and_deviation_1():
    torch.manual_seed(0)
    inner = network("butt").eval()
    model = Standardised(inner, 12)
    x, valid = torch.randn(2, 12, 320) * 3 + 7, torch.ones(2, 320, dtype=torch.bool)
    valid[0, 300:] = False
    with torch.no_grad():
        torch.testing.assert_close(model(x, valid), inner(x, valid))  # nothing is known yet
        model.mean.copy_(x.mean((0, 2))[:, None])
        model.deviation.copy_(x.std((0, 2))[:, None])
        expected = inner((x - x.mean((0, 2))[:, None]) / x.std((0, 2))[:, None], valid)
        torch.testing.assert_close(model(x, valid), expected)
        torch.testing.assert_close(fuse(model)(x, valid), expected, rtol=1e-4, atol=1e-4)
    assert {"mean", "deviation"} <= set(model.state_dict())  # they are kept with the weights


# crnn fills recordings up with zeros of its own, which are signal to it: its input may not be standardised
@pytest.mark.parametrize("name", sorted({*models.names()} - {"crnn"}))
def test_padding_does_not_exist_for_a_standardised_network_either(name):
    """What was zero is not zero any more once the mean is taken off."""
    model = Standardised(used(network(name)), 12)
    model.mean.fill_(0.7)
    model.deviation.fill_(1.3)
    x, valid = torch.randn(1, 12, 333), torch.ones(1, 640, dtype=torch.bool)
    valid[:, 333:] = False
    with torch.no_grad():
        alone, padded = model(x), model(torch.nn.functional.pad(x, (0, 307)), valid)
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-4)


class Seen(torch.nn.Module):
    """Shows what a network is given."""

    def forward(self, x, valid=None, metadata=None):
        return x


def of_a_dipole(batch=4, time=500, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve leads that see a heart vector of three dimensions, and their covariance."""
    random = np.random.default_rng(seed)
    view = random.normal(size=(12, 3))
    x = np.einsum("ld,bdt->blt", view, random.normal(size=(batch, 3, time)))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(view @ view.T, dtype=torch.float32)


@pytest.mark.parametrize("missing", [[7], [6, 7, 8, 9, 10, 11], [0, 3, 8], list(range(1, 12)), list(range(3, 12))])
def test_missing_leads_are_the_best_linear_estimate_from_the_others(missing):
    """Σ_mp (Σ_pp + ridge)⁻¹ in numpy; of a heart vector three leads tell the others."""
    x, covariance = of_a_dipole()
    model = FilledLeads(Seen(), 12)
    model.covariance.copy_(covariance)
    there = [lead for lead in range(12) if lead not in missing]
    part = x.clone()
    part[:, missing] = 0
    filled = model(part)
    assert torch.equal(filled[:, there], x[:, there])
    sigma = covariance.double().numpy()
    ridge = 1e-3 * np.diag(sigma).mean() * np.eye(len(there))
    weights = sigma[np.ix_(missing, there)] @ np.linalg.inv(sigma[np.ix_(there, there)] + ridge)
    np.testing.assert_allclose(filled[:, missing], weights @ part[:, there].double().numpy(), atol=2e-3)
    if len(there) >= 3:
        assert float((filled - x)[:, missing].square().mean()) < 0.02 * float(x.square().mean())


@pytest.mark.parametrize("name", models.names())
def test_filled_leads_depend_on_neither_padding_nor_company(name):
    inner = used(network(name))
    model = FilledLeads(inner, 12)
    model.covariance.copy_(of_a_dipole()[1])
    x, valid = torch.randn(4, 12, 640), torch.ones(4, 640, dtype=torch.bool)
    x[1, 4:], x[2] = 0, 0  # a recording with four leads, one with none
    valid[3, 400:] = False
    x = torch.where(valid[:, None], x, 0.0)
    with torch.no_grad():
        batch = model(x, valid)
        assert batch.isfinite().all() and torch.equal(model(x[3:], valid[3:]), inner(x[3:], valid[3:]))
        for row in range(4):
            torch.testing.assert_close(
                model(x[row : row + 1], valid[row : row + 1]), batch[row : row + 1], rtol=0, atol=1e-4
            )
        torch.testing.assert_close(model(x[3:, :, :400]), batch[3:], rtol=0, atol=1e-4)


def test_missing_leads_stay_zero_in_padding_and_where_nothing_is_known_of_them():
    model = FilledLeads(Seen(), 12)  # leads that have nothing to do with each other
    x = torch.randn(2, 12, 100)
    x[:, 5], x[0, :, 60:] = 0, 0
    assert torch.equal(model(x), x)
    model.covariance.copy_(of_a_dipole()[1])
    filled = model(x)
    assert not filled[0, :, 60:].any() and filled[0, 5, :60].any() and filled[1, 5].any()
