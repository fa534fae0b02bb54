"""Networks by name. A new architecture is one file here with one function, which is named in the tuple below.

    model = build("butt", leads=12, classes=24, width=30)
    logits = model(x, valid, metadata)      # (batch, channels, time), bool (batch, time), (batch, 7) → (batch, classes)

The score of a class is the sigmoid of its logit. Every network keeps this contract:

valid
    Samples where it is False do not exist: the logits of a recording depend neither on its padding nor on the other
    recordings of its batch. None means that all samples are valid. Any length from one sample on is taken.
metadata
    What is known beside the signal, see prepare.metadata_of: age / 100; female, male; log10 of the amplitude in mV
    if the signal was divided by it. Each is followed by 1 if it is known and is 0 otherwise. Six RR numbers follow
    where the recipe's input has them, and then the average beat (samples · leads numbers, see
    inference/average_beat.py) where it has one. None means that nothing is known. Every network takes the metadata, and
    ignores it unless its paper uses it.

In training a network that consists of two which learn apart returns the logits of both, (batch, 2, classes).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import UserError
from .butt import butt
from .cnn_gru import cnn_gru
from .crnn import crnn
from .isibrno import isibrno
from .s4 import s4
from .se_resnet import se_resnet

_REGISTRY = {function.__name__: function for function in (butt, se_resnet, crnn, cnn_gru, isibrno, s4)}


def names() -> tuple[str, ...]:
    """The names of all networks."""
    return tuple(_REGISTRY)


def build(name: str, *, leads: int, classes: int, **network: Any) -> nn.Module:
    """A new network with random weights from torch's global generator.

    Parameters
    ----------
    leads : int
        Channels of its input.
    network
        Options of this network; its function says which it takes.

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
