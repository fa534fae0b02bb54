"""Networks for tests: small ones with random weights, and descriptions of the published sizes."""

from __future__ import annotations

import torch

from twelvelead import models

SMALL = {
    "butt": dict(width=4, levels=6),
    "se_resnet": dict(width=4, reduction=1),
    "crnn": dict(width=6, blocks=3, samples=700),
    "cnn_gru": dict(width=6),
    "isibrno": dict(width=8),
    "s4": dict(width=8),
}


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
