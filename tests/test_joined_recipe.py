"""A joined recipe: which recipes go together, whose member is whose, and what a smaller budget takes away."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvelead.errors import UserError
from twelvelead.inference.recipe_checks import check_recipe
from twelvelead.joined_recipe import JoinedRecipe, shared_out, with_members
from twelvelead.recipes import RECIPES, join, recipe_from_dict, to_dict
from twelvelead.training.time_budget import SYNTHETIC_PART, with_synthetic_in_time

BUTT, S4, VOTE = RECIPES["butt"], RECIPES["s4"], RECIPES["vote"]
counts = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def joined(*composition, voting=BUTT.voting):
    return join("ours", "a test", "nowhere", voting, *composition)


@given(counts)
def test_every_recipe_gets_the_members_asked_for(asked):
    order = shared_out(asked, sum(asked))
    assert [order.count(k) for k in range(len(asked))] == asked


@given(counts, st.integers(1, 60))
def test_every_recipe_gets_a_member_before_any_gets_a_second(asked, total):
    order = shared_out(asked, total)
    assert len(order) == total
    assert list(order[: len(asked)]) == list(range(min(total, len(asked))))
    for k, count in enumerate(asked):  # in proportion
        assert abs(order.count(k) - total * count / sum(asked)) <= max(1, len(asked) - 1)


def test_members_vote_as_the_joined_recipe_says_and_know_their_recipe():
    recipe = joined((BUTT, 3), (S4, 1))
    assert recipe.part_of_member == (0, 1, 0, 0) and recipe.voting == dataclasses.replace(BUTT.voting, members=4)
    assert recipe.label_set == "challenge" and [part.name for part in recipe.parts] == ["butt", "s4"]
    assert recipe.parts[1] == dataclasses.replace(S4, voting=dataclasses.replace(BUTT.voting, members=1))


@pytest.mark.parametrize(
    "composition, words",
    [
        ([], "joins no recipes"),
        ([(BUTT, 2), (RECIPES["crnn"], 2)], "'butt', which knows the label set 'challenge', and 'crnn'"),
        ([(BUTT, 2), (BUTT, 2)], "names must differ"),
    ],
)
def test_recipes_that_do_not_go_together_are_one_line(composition, words):
    with pytest.raises(UserError, match=words) as error:
        joined(*composition)
    assert "\n" not in str(error.value)


def test_recipes_that_share_out_the_recordings_otherwise_do_not_go_together():
    with pytest.raises(UserError, match="voting of 's4' and of 'butt' must be the same"):
        JoinedRecipe("ours", "a test", "nowhere", (BUTT, S4))


def test_members_of_a_smaller_budget_are_those_of_the_whole_model():
    assert [part.voting.members for part in VOTE.scaled(members=6).parts] == [2, 2, 1, 1]
    assert VOTE.scaled(members=6).voting.members == 6
    few = VOTE.scaled(members=3)
    assert [part.name for part in few.parts] == [part.name for part in VOTE.parts][:3]  # the last is left out
    assert few.part_of_member == (0, 1, 2)
    assert VOTE.scaled(members=80).voting.members == 80
    folds = joined((BUTT, 2), (S4, 2), voting=dataclasses.replace(BUTT.voting, train_fraction=0, folds=3))
    assert [part.voting.members for part in folds.scaled(members=80).parts] == [3, 3]
    assert VOTE.scaled() == VOTE
    with pytest.raises(UserError, match="members must be at least 1"):
        VOTE.scaled(members=0)


def test_epochs_width_and_synthetic_recordings_are_those_of_every_recipe():
    small = VOTE.scaled(epochs=7, width=6, synthetic=11)
    for part, whole in zip(small.parts, VOTE.parts):
        assert part == with_members(whole.scaled(epochs=7, width=6, synthetic=11), whole.voting.members)
        assert part.training.epochs == 7 and part.network["width"] == 6
        assert part.synthetic.recordings == part.voting.convention_recordings == 11


def test_a_short_time_budget_divides_its_synthetic_recordings_among_the_recipes():
    lines: list[str] = []
    recipe = joined((BUTT, 2), (dataclasses.replace(BUTT, name="twin"), 2), (S4, 1))
    hours = 12 / 3600 / SYNTHETIC_PART  # 12 s to make some: at 6 ms each, 1000 for each of the two that learn from them
    fitting = with_synthetic_in_time(recipe, hours, lines.append)
    assert [part.synthetic.recordings for part in fitting.parts] == [1000, 1000, 0]
    assert {part.voting.convention_recordings for part in fitting.parts} == {240}  # 5 members score each in 10 ms
    assert len(lines) == 1 and "2000 instead of 40000" in lines[0]
    assert with_synthetic_in_time(recipe, None, lines.append) is recipe


def test_a_joined_recipe_travels_as_json():
    values = json.loads(json.dumps(to_dict(VOTE), allow_nan=False))
    assert recipe_from_dict(values) == VOTE
    for wrong in ({**values, "colour": "red"}, {**values, "parts": 3}, {**values, "parts": []}):
        with pytest.raises(UserError):
            recipe_from_dict(wrong)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(summary="x" * 10**6), "summary"),
        (dict(parts=(dataclasses.replace(BUTT, network={"width": -1}),)), "network.width"),
        (dict(parts=(with_members(BUTT, 0),)), "voting.members"),
        (dict(parts=tuple(dataclasses.replace(BUTT, name=str(k)) for k in range(21))), "more than 20"),
        (dict(parts=tuple(with_members(dataclasses.replace(BUTT, name=str(k)), 600) for k in (1, 2))), "1200 members"),
    ],
)
def test_impossible_values_of_a_joined_recipe_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        check_recipe(dataclasses.replace(VOTE, **change))
