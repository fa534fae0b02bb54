"""The network of ISIBrno-AIMT against its description, and its attention against torch's."""

from __future__ import annotations

import pytest
import torch
from small_networks import described, network, parameters, shapes, used

from twelvelead.models.isibrno import SelfAttention


def test_isibrno_has_the_parameters_of_the_description():
    total = 12 * 256 * 15 + 2 * 256
    total += 5 * (2 * (256 * 256 * 9 + 2 * 256) + 256 * 256)  # the shortcut has neither bias nor batch norm
    total += 3 * (256 * 256 + 256) + 256 * 256 + 256  # attention: query, key, value; what joins the heads
    assert parameters(described("isibrno", 12, 24)) == total + (256 + 12) * 24 + 24 == 6_547_256


def test_isibrno_has_the_shapes_of_the_description():
    layers = ["stem", *(f"blocks.{k}" for k in range(5)), "attention", "head"]
    assert shapes(described("isibrno", 12, 26), layers, 12, 8192) == [
        (256, 4096),
        (256, 2048),
        (256, 1024),
        (256, 512),
        (256, 256),
        (256, 128),
        (128, 256),
        (26,),
    ]


def test_attention_is_torchs_multi_head_attention_of_the_valid_steps():
    torch.manual_seed(0)
    ours, theirs = SelfAttention(24, 8), torch.nn.MultiheadAttention(24, 8, batch_first=True)
    for bias in (ours.project.bias, ours.join.bias):
        torch.nn.init.normal_(bias)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project.weight,
            "in_proj_bias": ours.project.bias,
            "out_proj.weight": ours.join.weight,
            "out_proj.bias": ours.join.bias,
        }
    )
    x, valid = torch.randn(3, 10, 24), torch.arange(10) < torch.tensor([[10], [4], [1]])
    valid[0, 5] = False
    with torch.no_grad():
        expected, _ = theirs(x, x, x, key_padding_mask=~valid, need_weights=False)
        torch.testing.assert_close(ours(x, valid)[valid], expected[valid])
        torch.testing.assert_close(ours(x, None), theirs(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("width,heads", [(256, 8), (8, 8), (12, 4), (69, 1), (7, 1)])
def test_narrow_networks_have_as_many_heads_as_divide_their_width(width, heads):
    assert SelfAttention(width, 8).heads == heads


def test_the_network_is_told_which_leads_there_are():
    """A lead that is zero, and one that is nearly so, give the convolutions the same and the last layer another."""
    model = used(network("isibrno"))
    x, valid = torch.randn(2, 12, 640), torch.ones(2, 640, dtype=torch.bool)
    x[:, 5], valid[1, 400:] = 0, False
    nearly = x.clone()
    nearly[:, 5, 7] = 1e-12
    behind = x.clone()
    behind[1, 5, 500] = 9.0  # where the recording has ended
    with torch.no_grad():
        # The last columns of the last layer are those of the leads.
        difference = model(nearly, valid) - model(x, valid)
        torch.testing.assert_close(difference, model.head.weight[:, -12:][:, 5].expand(2, -1), rtol=1e-3, atol=1e-5)
        assert torch.equal(model(behind, valid), model(x, valid))
