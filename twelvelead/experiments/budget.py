"""The recipes of an experiment at one budget: the same epochs and members, the same width or number of parameters.

recipes = at_budget(["butt", "crnn"], settings, parameters=200_000, classes={"challenge": 24, "cpsc": 9})
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from ..models.network import parameters_of
from ..recipes import AnyRecipe, Recipe
from ..settings import Settings
from .design import get_recipes


def at_budget(
    names: Sequence[str], settings: Settings, parameters: int | None, classes: dict[str, int]
) -> list[AnyRecipe]:
    """The recipes of these names, in their usual order, at the settings' budget or at most so many parameters.

    Parameters
    ----------
    parameters : int or None
        Most trainable parameters that a network may have. Cannot be given together with a width in the settings.
    classes : dict
        Label set → number of classes.

    Raises
    ------
    UserError
        If a number makes no sense, there is no such recipe, or no width gives so few parameters.
    """
    if parameters is not None and settings.width is not None:
        raise UserError("--parameters and --width (TWELVELEAD_WIDTH) both say how wide networks are; give one of them")
    if parameters is not None and parameters < 1:
        raise UserError(f"parameters must be more than 0, not {parameters}")
    recipes: list[AnyRecipe] = [
        recipe.scaled(
            epochs=settings.epochs, members=settings.members, width=settings.width, synthetic=settings.synthetic
        )
        for recipe in get_recipes(names)
    ]
    if parameters is None:
        return recipes
    return [narrowed(recipe, classes[recipe.label_set], parameters) for recipe in recipes]


def narrowed(recipe: AnyRecipe, classes: int, most: int) -> AnyRecipe:
    """The recipe with the widest network that has at most so many trainable parameters, at most as wide as published.

    Each network of a joined recipe has at most so many.

    Raises
    ------
    UserError
        If the narrowest network has more.
    """
    return recipe.with_parts([_narrowed(part, classes, most) for part in recipe.parts])


def _narrowed(recipe: Recipe, classes: int, most: int) -> Recipe:
    """The same for a recipe with one network."""

    def widest(width: int) -> tuple[int, int]:
        """Width and parameters of the widest network up to that width; some networks take even widths only."""
        for candidate in range(width, 0, -1):
            try:
                return candidate, parameters_of(recipe.scaled(width=candidate), classes)
            except UserError:
                continue
        return 0, 0

    low, high = 0, recipe.network["width"]
    while low < high:
        width = (low + high + 1) // 2
        low, high = (width, high) if widest(width)[1] <= most else (low, width - 1)
    width = widest(low)[0]
    if width == 0:
        raise UserError(f"recipe '{recipe.name}' has more than {most} parameters at its smallest width; allow more")
    return recipe.scaled(width=width)
