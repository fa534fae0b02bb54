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


def named_model(name: str | Path) -> Path:
    """The folder of a model that was named: `pretrained` is the package's own, unless there is a folder of that name.

    Where the package has none, the name stays as it is, and whoever reads the folder says that there is no model.
    """
    path = Path(name)
    is_the_packages = str(name) == "pretrained" and not path.exists() and (PRETRAINED / "recipe.json").is_file()
    return PRETRAINED if is_the_packages else path
