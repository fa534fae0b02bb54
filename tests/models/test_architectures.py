"""What every registered network promises: masks, gradients, storage. The tests walk the registry."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from small_networks import SMALL, described_small, network, used, without_dropout

from twelvelead import models
from twelvelead.errors import UserError

USES_AGE_AND_SEX = {"se_resnet"}  # the other papers use the signal alone


def test_every_registered_network_is_tested():
    assert set(SMALL) == set(models.names())


def test_an_unknown_network_or_option_names_what_exists():
    with pytest.raises(UserError, match="butt"):
        models.build("resnet9000", leads=12, classes=24)
    with pytest.raises(UserError, match="colour"):
        models.build("butt", leads=12, classes=24, colour=3)


def test_options_that_make_no_network_are_an_error():
    for name, options in (
        ("butt", dict(kernel=6)),
        ("se_resnet", dict(blocks=0)),
        ("crnn", dict(samples=5000)),
        ("cnn_gru", dict(width=5)),
        ("isibrno", dict(kernel=8)),
        ("s4", dict(states=7)),
    ):
        with pytest.raises(UserError, match=name):
            models.build(name, leads=12, classes=24, **options)


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
def test_padding_changes_neither_gradients_nor_batch_statistics(name):
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
    assert ((logits[1] - logits[2]).abs().max() > 1e-4) == (name in USES_AGE_AND_SEX)
