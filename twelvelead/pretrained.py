"""The trained model that comes with the package, which commands use where no other model is named."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

_PACKAGE = Path(__file__).resolve().parent
# An installed package contains the folder; a checkout has it beside the package.
PRETRAINED = (_PACKAGE if (_PACKAGE / "pretrained").is_dir() else _PACKAGE.parent) / "pretrained"


def default_model() -> Path:
    """The folder of the model that comes with the package.

    Raises
    ------
    UserError
        If this copy of the package has none.
    """
    if not (PRETRAINED / "recipe.json").is_file():
        raise UserError("this copy of twelvelead has no pretrained model; name a model folder (MODEL, --model MODEL)")
    return PRETRAINED
