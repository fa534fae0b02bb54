"""Networks by name. A new architecture is one file here with one function, named in the tuple below.

    model = build("butt", leads=12, classes=24, width=30)
    logits = model(x, valid, metadata)      # (batch, channels, time), bool (batch, time), (batch, 7) → (batch, classes)

A model turns a batch into logits; the score of a class is their sigmoid. Samples where `valid` is False do not exist:
a recording's logits depend neither on its padding nor on its company in the batch, and any length from 1 on is taken.
`valid` None: all are valid. `metadata` is what else is known, each with a 1 behind it if it is, else zeros: age / 100; female,
male; log10 of the amplitude in mV, where the input was divided by it. None: nothing is known. Every network takes it, and
passes it over unless its paper uses it.
"""

from __future__ import annotations

from torch import nn

from ..errors import UserError
from .butt import butt
from .cnn_gru import cnn_gru
from .crnn import crnn
from .se_resnet import se_resnet

_REGISTRY = {function.__name__: function for function in (butt, se_resnet, crnn, cnn_gru)}


def names() -> tuple[str, ...]:
    """Names of all networks."""
    return tuple(_REGISTRY)


def build(name: str, *, leads: int, classes: int, **network) -> nn.Module:
    """A new network with random weights (torch's global generator); `leads` are the channels of its input.

    Raises
    ------
    UserError
        If the name is not registered, or the network does not take an option; the message lists what exists.
    """
    if name not in _REGISTRY:
        raise UserError(f"unknown network '{name}'; there are: {', '.join(_REGISTRY)}")
    try:
        return _REGISTRY[name](leads=leads, classes=classes, **network)
    except TypeError as error:
        raise UserError(f"network '{name}': {error}") from None
