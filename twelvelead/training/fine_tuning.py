"""Training that starts from a trained model instead of from random weights.

    start = read_start(folder, freeze=False)                        # the model, before classes are matched
    start = start.matched_to(classes, codes)                        # which of its classes are which of the new ones
    copy_weights(model, start, member=3, recipe=recipe)             # weights of its member 3, modulo its members
    optimizer = AdamW(parameter_groups(model, head_parameters(model, recipe), start), lr=…)

The network and its input are those of the trained model. All its weights are copied but those of classes that it does
not have, which stay random. What such a class adds to the network is told by shape: of two networks of one recipe with
different numbers of classes, the tensors that differ belong to classes, along the dimension in which they differ.

Weights that were trained already learn at a tenth of the recipe's rate: larger steps would undo what they hold before
the new recordings have taught anything. A tenth is a common choice and was not tuned here. A head with new classes
learns at the recipe's rate. Layers near the output may learn faster than those before them (Howard and Ruder, ACL 2018,
section 3.2), and while a random head learns, large steps before it distort the features (Kumar et al., ICLR 2022). With
`freeze` the head alone learns, at the recipe's rate; everything before it stays as it is, statistics of batch
normalisation included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.classes import Classes
from ..data.label_tables import codes_of_name
from ..errors import UserError
from ..inference.model_files import member_path, read_description, read_weights, whole_model
from ..models.layers import MaskedBatchNorm
from ..models.network import DecisionHead, new_model
from ..recipes import JoinedRecipe, Recipe, to_dict
from ..terminal import printable
from .identity import digest
from .publishing import sha256_of

TRAINED_RATE = 0.1  # learning rate of weights that were trained already, as a share of the recipe's
NEW = -1  # in `Start.matched`: the class is none of the model's


@dataclass(frozen=True)
class Start:
    """The trained model from which a training run starts.

    Attributes
    ----------
    folder : str
        The model folder.
    digest : str
        Changes with its weights, classes and recipe.
    recipe_name : str
        Its recipe's name.
    classes : tuple of str
        Its classes' codes or names.
    freeze : bool
        Whether only the head is trained.
    matched : tuple of int
        For each class of the run the position of the same class in the model, `NEW` where it has none.
    """

    folder: str
    digest: str
    recipe_name: str
    classes: tuple[str, ...]
    freeze: bool
    matched: tuple[int, ...] = ()

    def matched_to(self, classes: Classes, codes: Sequence[frozenset[str]] | None = None) -> Start:
        """The same start for a run with these classes.

        A class is the same if it is called the same, or if both are the same diagnosis of the Challenge.

        Parameters
        ----------
        codes : sequence of frozenset of str, optional
            See data.own_labels.OwnLabels; by default what the classes' names say.
        """
        codes = [codes_of_name(code) for code in classes.codes] if codes is None else codes
        by_name = {name.casefold(): k for k, name in enumerate(self.classes)}
        by_code = {of_class: k for k, of_class in enumerate(map(codes_of_name, self.classes)) if of_class}
        matched = tuple(
            by_name.get(name.casefold(), by_code.get(frozenset(of_class), NEW))
            for name, of_class in zip(classes.codes, codes)
        )
        return dataclasses.replace(self, matched=matched)

    @property
    def has_new_classes(self) -> bool:
        return NEW in self.matched

    @property
    def key(self) -> list[Any]:
        """What the trained model depends on, as plain JSON values; a copy of the folder gives the same model."""
        return [self.digest, self.freeze, list(self.matched)]

    @property
    def words(self) -> str:
        """The start in a sentence, for the log and the model card."""
        known = sum(place != NEW for place in self.matched)
        what = "only the last layer was trained on" if self.freeze else "all layers were trained further"
        return (
            f"The members started from the model `{printable(Path(self.folder).name)}` (recipe `{self.recipe_name}`, "
            f"digest {self.digest}), which had {known} of the {len(self.matched)} classes; {what}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "classes": list(self.classes), "matched": list(self.matched)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Start:
        """The start that `to_dict` wrote."""
        return Start(**{**values, "classes": tuple(values["classes"]), "matched": tuple(values["matched"])})


def read_start(folder: Path, freeze: bool) -> tuple[Start, Recipe]:
    """The start from a model folder, not yet matched to any classes, and the model's recipe.

    Raises
    ------
    UserError
        If the folder holds no model, a damaged one, or one of a joined recipe.
    """
    description = read_description(whole_model(folder))
    recipe = description.recipe
    if isinstance(recipe, JoinedRecipe):
        raise UserError(f"{printable(folder)}: its members are of several recipes; start from a model of a single one")
    start = Start(
        folder=str(folder.resolve()),
        digest=_digest_of(folder),
        recipe_name=recipe.name,
        classes=description.classes.codes,
        freeze=freeze,
    )
    return start, recipe


def _digest_of(folder: Path) -> str:
    description = read_description(whole_model(folder))
    try:
        weights = [sha256_of(member_path(description.folder, member)) for member in description.members]
    except OSError as error:
        raise UserError(f"{printable(error.filename)}: the weights cannot be read ({error.strerror})") from None
    return digest([weights, list(description.classes.codes), to_dict(description.recipe)])


def copy_weights(model: nn.Module, start: Start, member: int, recipe: Recipe) -> None:
    """Copies the weights of one member of the trained model into a network with random weights.

    Parameters
    ----------
    model : nn.Module
        The recipe's network for the classes that `start.matched` is about, on any device.
    member : int
        Of the run. Member k starts from member k of the model, modulo the number of its members.

    Raises
    ------
    UserError
        If the model was changed since the run began, or is damaged.
    """
    folder = Path(start.folder)
    if _digest_of(folder) != start.digest:
        raise UserError(f"{printable(folder)}: the model to start from was changed while training ran; start again")
    description = read_description(whole_model(folder))
    with torch.device("meta"):  # the run's network is the model's, apart from the number of classes
        expected = new_model(recipe, len(description.classes.codes)).state_dict()
    source = description.members[member % len(description.members)]
    trained, _ = read_weights(description, source, expected)
    dimension_of = class_dimensions(recipe)
    new = [k for k, place in enumerate(start.matched) if place != NEW]
    old = [start.matched[k] for k in new]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            values = trained[name].to(tensor.device)
            if name not in dimension_of:
                tensor.copy_(values)
            elif new:
                dimension = dimension_of[name]
                chosen = values.index_select(dimension, torch.tensor(old, device=tensor.device))
                tensor.index_copy_(dimension, torch.tensor(new, device=tensor.device), chosen)


def class_dimensions(recipe: Recipe) -> dict[str, int]:
    """For each tensor of the recipe's network whose shape depends on the number of classes: along which dimension."""
    with torch.device("meta"):  # tensors that have a shape and no memory
        two, three = (new_model(recipe, classes).state_dict() for classes in (2, 3))
    return {
        name: next(k for k, (a, b) in enumerate(zip(tensor.shape, three[name].shape)) if a != b)
        for name, tensor in two.items()
        if tensor.shape != three[name].shape
    }


def head_parameters(model: nn.Module, recipe: Recipe) -> set[str]:
    """Names of the parameters of the head: of the layers with a part for each class, and of a whole decision head."""
    owners = {name.rpartition(".")[0] for name in class_dimensions(recipe)}
    for name, module in model.named_modules():
        if isinstance(module, DecisionHead):
            owners.add(f"{name}.hidden".lstrip("."))
    return {
        name
        for name, _ in model.named_parameters()
        if any(name.startswith(f"{owner}." if owner else "") for owner in owners)
    }


def parameter_groups(model: nn.Module, head: set[str], start: Start) -> list[dict[str, Any]]:
    """The parameters that are trained, as groups of an optimiser; `scale` is each group's share of the learning rate.

    Parameters that are frozen take no gradient from here on. `head` is what `head_parameters` returns.
    """
    named = list(model.named_parameters())
    of_head = [parameter for name, parameter in named if name in head]
    others = [parameter for name, parameter in named if name not in head]
    if start.freeze:
        for parameter in others:
            parameter.requires_grad_(False)
        return [dict(params=of_head, scale=1.0)]
    scale = 1.0 if start.has_new_classes else TRAINED_RATE
    return [dict(params=others, scale=TRAINED_RATE), dict(params=of_head, scale=scale)]


def keep_statistics(model: nn.Module, head: set[str]) -> None:
    """Puts batch normalisation before the head into evaluation mode, where it keeps its statistics."""
    for name, module in model.named_modules():
        if isinstance(module, MaskedBatchNorm) and f"{name}.weight" not in head:
            module.eval()
