"""A joined recipe: members of several recipes in one model, which decide together.

    vote = join("vote", "…", "…", BUTT.voting, (BUTT, 2), (S4, 2))
    vote.parts                      # the recipes, each with the number of its members
    vote.part_of_member             # (0, 1, 0, 1): for each member the place of its recipe in `parts`

A `Recipe` has the same properties `parts` (itself alone), `part_of_member`, `voting` and `label_set`, so that most code
need not know which of the two it was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .errors import UserError
from .recipe import Recipe, Voting, single_recipe_from_dict


@dataclass(frozen=True)
class JoinedRecipe:
    """Members of several recipes in one model; `join` makes one.

    All members share out the recordings in the same way: the first member of every recipe trains on the same
    recordings, and so do the second members, and so on. A recording that is out of bag for one of them is therefore out
    of bag for the others, too, and shows how all recipes decide together.

    Attributes
    ----------
    name, summary, source : str
        As in `Recipe`.
    parts : tuple of Recipe
        The recipes, in the order in which they train. Their names differ. They have the same label set, and the same
        `voting` apart from the number of members. With `Voting.thresholds` "ensemble", the mean score of all members is
        compared with one threshold for each class. With "members", each member compares its own scores with its own
        thresholds, and a class is given if at least k members give it. Training chooses k out of bag.

    Raises
    ------
    UserError
        If the recipes do not go together.
    """

    name: str
    summary: str
    source: str
    parts: tuple[Recipe, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError(f"recipe '{self.name}' joins no recipes; name one at least")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise UserError(f"recipe '{self.name}' joins {', '.join(names)}; their names must differ")
        first = self.parts[0]
        for part in self.parts:
            if part.label_set != first.label_set:
                raise UserError(
                    f"recipe '{self.name}' joins '{first.name}', which knows the label set '{first.label_set}', and "
                    f"'{part.name}', which knows '{part.label_set}'; join recipes of one label set"
                )
            if dataclasses.replace(part.voting, members=first.voting.members) != first.voting:
                raise UserError(
                    f"recipe '{self.name}': the voting of '{part.name}' and of '{first.name}' must be the same but for "
                    "the number of members"
                )

    @property
    def label_set(self) -> str:
        """The label set of all parts."""
        return self.parts[0].label_set

    @property
    def voting(self) -> Voting:
        """How all members vote, with the number of all members."""
        members = sum(part.voting.members for part in self.parts)
        return dataclasses.replace(self.parts[0].voting, members=members)

    @property
    def part_of_member(self) -> tuple[int, ...]:
        """For each member the place of its recipe in `parts`.

        Every recipe gets its first member before any gets its second, so that a training whose time is short has
        members of all recipes.
        """
        return shared_out([part.voting.members for part in self.parts], self.voting.members)

    def with_parts(self, parts: Sequence[Recipe]) -> JoinedRecipe:
        """The same with other parts."""
        return dataclasses.replace(self, parts=tuple(parts))

    def scaled(
        self,
        *,
        epochs: int | None = None,
        members: int | None = None,
        width: int | None = None,
        synthetic: int | None = None,
    ) -> JoinedRecipe:
        """The recipe at a smaller (or larger) budget; see `Recipe.scaled`.

        Epochs, width and synthetic recordings are those of every part. `members` is the number of members of the whole
        model. They are shared out in proportion to the parts' members, but each part gets one before any gets a second.
        With fewer members than parts the last parts are left out.
        """
        parts = [part.scaled(epochs=epochs, members=members, width=width, synthetic=synthetic) for part in self.parts]
        counts = [part.voting.members for part in self.parts]
        if members is not None:
            order = shared_out(counts, members)
            counts = [min(order.count(k), part.voting.folds or members) for k, part in enumerate(parts)]
        return self.with_parts([with_members(part, count) for part, count in zip(parts, counts) if count])


AnyRecipe: TypeAlias = Recipe | JoinedRecipe


def join(name: str, summary: str, source: str, voting: Voting, *composition: tuple[Recipe, int]) -> JoinedRecipe:
    """A recipe of members of several recipes.

    Parameters
    ----------
    voting : Voting
        How the members share out the recordings, and how their scores become labels. It replaces the recipes' own; its
        number of members is not used.
    composition : pairs of Recipe and int
        The recipes, each with the number of its members.

    Raises
    ------
    UserError
        If the recipes do not go together; see `JoinedRecipe`.
    """
    parts = (with_members(dataclasses.replace(recipe, voting=voting), count) for recipe, count in composition)
    return JoinedRecipe(name, summary, source, tuple(parts))


def with_members(recipe: Recipe, members: int) -> Recipe:
    """The recipe with another number of members."""
    return dataclasses.replace(recipe, voting=dataclasses.replace(recipe.voting, members=members))


def shared_out(counts: Sequence[int], total: int) -> tuple[int, ...]:
    """For each of `total` members the recipe that it belongs to, in proportion to `counts`.

    Every recipe gets one member before any gets a second. Each further member goes to the recipe that lacks most of its
    proportion. With as many members as `counts` has together, each recipe gets exactly its count.
    """
    order = list(range(min(len(counts), total)))
    for number in range(len(order) + 1, total + 1):
        lacking = [count * number / sum(counts) - order.count(k) for k, count in enumerate(counts)]
        order.append(lacking.index(max(lacking)))
    return tuple(order)


def recipe_from_dict(values: dict[str, Any]) -> AnyRecipe:
    """The recipe, joined or not, that `to_dict` wrote.

    Raises
    ------
    UserError
        If a field is unknown or missing, or the parts of a joined recipe do not go together.
    """
    if "parts" not in values:
        return single_recipe_from_dict(values)
    try:
        values = {**values, "parts": tuple(single_recipe_from_dict(part) for part in values["parts"])}
        return JoinedRecipe(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the recipe does not fit this version of twelvelead ({error})") from None
