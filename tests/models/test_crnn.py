"""The CRNN against the released code, and the fixed length of its input."""

from __future__ import annotations

import torch
from small_networks import described, described_small, parameters, shapes


def test_crnn_has_the_parameters_of_the_description():
    convolutions = (12 * 1024 * 5 + 1024) + 6 * (1024 * 1024 * 5 + 1024) + 7 * 2 * 1024
    keras_lstm = 4 * (1024 * 1024 + 1024 * 1024 + 1024)
    head = (1024 * 1024 + 1024) + (1024 * 9 + 9)
    second_bias = 4 * 1024  # torch's LSTM has two
    assert parameters(described("crnn", 12, 9)) == convolutions + keras_lstm + second_bias + head == 40_995_849


def test_crnn_has_the_shapes_of_the_description():
    layers = [f"blocks.{k}.{part}" for k in range(7) for part in (0, 3)] + ["lstm", "hidden", "head"]
    steps = [9996, 3331, 3327, 1108, 1104, 367, 363, 120, 116, 38, 34, 10, 6, 4]
    assert shapes(described("crnn", 12, 9), layers, 12, 10_000) == [
        *((1024, n) for n in steps),
        (4, 1024),
        (1024,),
        (9,),
    ]


def test_crnn_hears_20_seconds_filled_with_zeros():
    """10,000 samples at 500 Hz, whatever comes: as published."""
    model = described_small("crnn")
    x = torch.randn(1, 12, 12_000)
    with torch.no_grad():
        assert torch.equal(model(x), model(x[:, :, :10_000]))
        assert torch.equal(model(x[:, :, :3000]), model(torch.nn.functional.pad(x[:, :, :3000], (0, 7000))))
        assert not torch.equal(model(x), model(x[:, :, :9000]))
