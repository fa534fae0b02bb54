"""The CNN-GRU against the description in its paper, its recurrence and its attention against torch and the formula."""

from __future__ import annotations

import torch
from small_networks import described, parameters, shapes

from twelvelead.models.cnn_gru import Attention, BidirectionalGRU


def test_cnn_gru_has_the_parameters_of_the_description():
    channels, total = 36, 0
    for _ in range(5):
        total += channels * 256 * 3 + 2 * (256 * 256 * 3) + 3 * 2 * 256 + channels * 256
        channels = 256
    total += 2 * 3 * (256 * 128 + 128 * 128 + 2 * 128)  # two directions, three gates
    total += 256 * 256 + 256 + 256  # attention
    assert parameters(described("cnn_gru", 36, 24)) == total + 256 * 24 + 24 == 3_427_864


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


def test_the_gru_reads_backwards_from_the_last_valid_step():
    """Oracle: torch's bidirectional GRU over packed sequences."""
    torch.manual_seed(0)
    ours, theirs = BidirectionalGRU(5, 3), torch.nn.GRU(5, 3, batch_first=True, bidirectional=True)
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
