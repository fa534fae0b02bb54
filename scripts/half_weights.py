#!/usr/bin/env python
"""A copy of a model folder with its weights in half precision, which has half the size.

    python scripts/half_weights.py MODEL OUT

The model in pretrained/ is such a copy. Of the one that was there before it, a copy's mean scores on PTB-XL's fold 9
differed by at most 6.5·10⁻⁴, and one label of 14,568. What is not a weight, such as the statistics of the input and of
batch normalisation, stays in single precision.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from twelvelead.errors import UserError  # noqa: E402
from twelvelead.files import write_json  # noqa: E402
from twelvelead.inference.ensemble import load_ensemble  # noqa: E402
from twelvelead.inference.model_files import manifest_of, sealed, whole_model  # noqa: E402
from twelvelead.models.network import new_model  # noqa: E402
from twelvelead.recipes import Recipe  # noqa: E402
from twelvelead.training.publishing import MANIFEST, hashes_of  # noqa: E402

LARGEST = 65504.0  # of half precision


def weights_of(recipe: Recipe, classes: int) -> set[str]:
    """Names of the tensors of a recipe's network that are weights. The others are statistics and lines of few leads."""
    with torch.device("meta"):  # tensors that have a shape and no memory
        return {name for name, _ in new_model(recipe, classes).named_parameters()}


def halved(tensors: dict[str, torch.Tensor], weights: set[str]) -> dict[str, torch.Tensor]:
    """The tensors of a member, its weights in half precision; they are not changed.

    Raises
    ------
    UserError
        If a weight is too large for half precision.
    """
    result = dict(tensors)
    for name, values in tensors.items():
        if name not in weights:
            continue
        if float(values.abs().max()) > LARGEST:
            raise UserError(f"{name} has a weight above {LARGEST:.0f}, the largest number of half precision")
        result[name] = values.half()
    return result


def copy_halved(model: Path, out: Path) -> None:
    """Writes the copy. Raises UserError if `model` holds no whole model, or `out` exists."""
    ensemble = load_ensemble(model)  # or says what is wrong with it
    weights = [weights_of(recipe, len(ensemble.classes.codes)) for recipe in ensemble.recipe.parts]
    if out.exists():
        raise UserError(f"{out}: is there already")
    shutil.copytree(whole_model(model), out)
    for part, path in zip(ensemble.part_of_model, sorted(out.glob("member_*.safetensors")), strict=True):
        save_file(halved(load_file(path), weights[part]), path)
        path.chmod(0o644)
    manifest = manifest_of(out)
    write_json(out / MANIFEST, sealed({**manifest, "files": hashes_of(out)}))
    load_ensemble(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        copy_halved(arguments.model, arguments.out)
    except UserError as error:
        print(f"half_weights.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
