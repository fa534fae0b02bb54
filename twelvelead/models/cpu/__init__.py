"""What makes networks fast on a CPU. The rest of the package knows this folder by one call.

    model = accelerate(model, training=True)                    # the same parameters, faster convolutions
    model = accelerate(fuse(model.eval()), training=False)      # a model that only scores

The folder is optional: `models.network.accelerated` is the only place that imports it, and returns the model as it
is where the folder has been deleted. Training, loading and scoring then take longer and give the same results up to
rounding.

    winograd.py         the arithmetic: convolutions with fewer multiplications
    minimal_conv.py     layers that use it, for training and for scoring
    buffers.py          memory that each thread keeps between calls
    scoring_layers.py   convolutions in numpy, for networks that are scored as a whole in numpy
    butt.py             the BUTT network made of them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..butt import Butt
from .butt import scoring_butt
from .minimal_conv import MinimalConv, ScoringConv, gains_from_minimal_filtering

# Networks that have a faster twin for scoring as a whole. The function returns the twin, or None where a network of
# this class has none, for example because of the length of its filters.
SCORING_TWINS: dict[type[nn.Module], Callable[[Any], nn.Module | None]] = {Butt: scoring_butt}


def accelerate(model: nn.Module, *, training: bool) -> nn.Module:
    """Replaces the parts of a model for which something faster exists on a CPU.

    Parameters
    ----------
    model : nn.Module
        On the CPU, in float32. It is changed in place; use only the returned model afterwards.
    training : bool
        True: convolutions are replaced by ones that share their parameters. Parameters, names in the state_dict and
        gradients stay the same, so that checkpoints and model folders do not change.
        False: the model is prepared for scoring. It must be in evaluation mode with its batch normalisation folded into
        the convolutions (`network.fuse`), and can neither be trained nor saved afterwards.

    Returns
    -------
    nn.Module
        The same module, or its replacement if the module as a whole was replaced.
    """
    replacement = _for_training(model) if training else _for_scoring(model)
    if replacement is not None:
        return replacement
    for name, child in model.named_children():
        setattr(model, name, accelerate(child, training=training))
    return model


def _for_training(module: nn.Module) -> nn.Module | None:
    """A faster module with the same parameters, or None."""
    if isinstance(module, nn.Conv2d) and not isinstance(module, MinimalConv) and gains_from_minimal_filtering(module):
        return MinimalConv(module)
    return None


def _for_scoring(module: nn.Module) -> nn.Module | None:
    """A faster module for scoring alone, or None."""
    if isinstance(module, nn.Conv2d):
        return ScoringConv(module) if gains_from_minimal_filtering(module) else None
    twin = SCORING_TWINS.get(type(module))
    return None if twin is None else twin(module)
