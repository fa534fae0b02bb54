"""The model folder while members are trained: a whole model of the members that are done, after each of them.

    model_folder = ModelFolder(run, seconds_used, started, until, log)
    model_folder.collect_finished()     # again and again: takes in members that were finished since the last call
    model_folder.complete()

If the folder holds a finished model of another run, that one stays until the new one is complete.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import __version__
from ..data.classes import DIAGNOSES
from ..errors import UserError
from ..files import replace_file, write_json, write_text
from ..inference.model_files import format_of, manifest_of, member_path, names_of_members, sealed
from ..models.network import parameters_of
from ..plots.progress import draw_progress, write_history
from ..recipes import JoinedRecipe, to_dict
from ..synthetic.conventions import as_others_write, habits_of_annotators
from ..thresholds.context import Context
from ..thresholds.decisions import decide
from ..thresholds.expected import Habits
from ..thresholds.objectives import Objective, joined, metric_name, objective_of
from ..thresholds.probabilities import LogisticMap, draw_labels, fit_probabilities
from ..thresholds.search import Thresholds, optimise, shrink
from .losses import WEIGHTED, frequency_log_odds
from .member import TrainedMember
from .member_data import uses_in_one_epoch
from .member_files import ResultError, delete_result, read_result
from .model_card import CARD, Facts, Part, model_card
from .out_of_bag import best_votes, out_of_bag
from .publishing import HISTORY, MANIFEST, hashes_of, link_or_copy, publish
from .run import AnyRun, TrainingRun
from .time_budget import Deadline

NOTE_S = 2  # run.json says so often how much time was used
MOST_DRAWN = 100_000  # recordings of all draws of labels together; their search takes half a minute


class _Decision(NamedTuple):
    """How the members' mean score becomes labels; see `Ensemble`. With a map, thresholds are of probabilities."""

    members: list[int]
    thresholds: Thresholds
    recordings: int  # out of bag, from which all this is found
    line: LogisticMap | None
    context: Context | None


class ModelFolder:
    """Collects members that are done, searches thresholds, and puts the model into its folder.

    Rows are those of the store of the run's first recipe, which is the only one unless the run is of a joined recipe.

    Parameters
    ----------
    seconds_used : float
        Of the time budget, by earlier runs that were killed.
    started : float
        When this run started, time.time().
    """

    def __init__(self, run: AnyRun, seconds_used: float, started: float, until: Deadline, log: Callable[[str], None]):
        self.run, self.seconds_used, self.started, self.until, self.log = run, seconds_used, started, until, log
        self.first = run.parts[0]
        self.labels = self.first.labels()
        self.known = self.first.known_labels(self.labels)
        # Metrics of the user's own classes count known labels alone. The Challenge's take unknown ones for absent.
        self.scored = self.known if run.classes.are_own else None
        self.truth = self.first.threshold_labels(self.labels)
        added = (self.truth & ~self.labels)[self.first.rows].sum(axis=0)
        self.added = {code: int(count) for code, count in zip(run.classes.codes, added) if count}
        if self.added:
            log(
                "thresholds: by its heart rate, sinus rhythm also counts as "
                + " and ".join(f"{DIAGNOSES[code][1]} in {count} recordings" for code, count in self.added.items())
            )
        self.results: dict[int, TrainedMember] = {}
        self.thresholds: dict[int, Thresholds] = {}
        self.validation: dict[int, np.ndarray] = {}  # rows that validate each member
        self.decision: _Decision | None = None  # of the members that are done
        self.time_of_note = 0.0
        self.log_odds = [_log_odds(part) if part.recipe.voting.shrinkage else 0.0 for part in run.parts]
        manifest = manifest_of(run.folder)
        self.keeps_other_model = bool(manifest.get("complete")) and manifest.get("key") != self.run.model_key
        self.collect_finished()

    def collect_finished(self) -> None:
        """Takes in members that have been finished since the last call, and notes how much time was used."""
        if time.time() - self.time_of_note > NOTE_S:
            self._note_time()
        has_grown = False
        for member in range(self.run.recipe.voting.members):
            if member in self.results:
                continue
            try:
                trained = read_result(self.first, member)
            except ResultError as error:
                self.log(f"{self.first.result_path(member)}: not used, {error}; member {member} is trained again")
                delete_result(self.first, member)
                continue
            if trained is None:
                continue
            self.results[member] = trained
            part = self.run.part_of(member)
            own_rows = part.member_rows(part.labels(), member)[1]
            rows = self.validation[member] = self.run.in_first(part, own_rows)
            self.thresholds[member] = self._optimise(
                rows, trained.scores, trained.convention_scores, [member], f"member {member}"
            )
            has_grown = True
        if has_grown and not self.keeps_other_model:
            self._publish(complete=False)

    def complete(self) -> None:
        """Makes the model of all members that are done the finished model of the folder.

        Raises
        ------
        UserError
            If there is none.
        """
        if not self.results:
            raise UserError(f"{self.run.folder}: no member was trained")
        self._publish(complete=True)

    def _note_time(self) -> None:
        """Writes run.json: the time used, and for other ranks the deadline."""
        self.time_of_note = time.time()
        write_json(
            self.run.work / "run.json",
            dict(
                key=self.run.key,
                seconds=self.seconds_used + self.time_of_note - self.started,
                deadline=None if np.isinf(self.until.at) else self.until.at,
            ),
        )

    def _objective(
        self, rows: np.ndarray, scores: np.ndarray, convention_scores: np.ndarray, label_draws: int = 0
    ) -> tuple[Objective, float]:
        """The metric of scores (rows, classes) of these rows and of scores of the convention rows, as a function.

        With `label_draws` it is the expected metric: from the scores and the annotated labels follows how likely each
        class is in each recording, and labels are drawn so many times from these probabilities. These rows count twice
        if the recipe says so: as they are labelled, and as others might have labelled them. The second result is the
        part that the convention rows have, from 0 to 1.
        """
        classes, conventions, voting = self.run.classes, self.first.convention_rows, self.run.recipe.voting
        part, truth = voting.convention_part(len(rows)), self.truth[rows]
        if label_draws and len(rows):
            # A class that nobody annotated stays without positives.
            probabilities = fit_probabilities(truth, scores)(scores) * truth.any(axis=0)
            draws = min(label_draws, max(1, MOST_DRAWN // len(rows)))
            truth, scores = draw_labels(probabilities, draws, self.run.seed), np.tile(scores, (draws, 1))
        objective = objective_of(classes, truth, scores, None if self.scored is None else self.scored[rows])
        if voting.other_habits:
            of_others = objective_of(classes, as_others_write(truth, classes.codes, self.run.seed), scores)
            objective = joined(objective, of_others, voting.other_habits)
        if part:
            of_conventions = objective_of(classes, self.labels[conventions], convention_scores)
            objective = joined(objective, of_conventions, part)
        return objective, part

    def _optimise(
        self, rows: np.ndarray, scores: np.ndarray, convention_scores: np.ndarray, members: list[int], title: str
    ) -> Thresholds:
        """Thresholds for the scores of these members, (rows, classes), and for their scores of the convention rows."""
        voting = self.run.recipe.voting
        objective, part = self._objective(rows, scores, convention_scores, voting.label_draws)
        recipes = [self.run.recipe.part_of_member[member] for member in members]
        # The mean over the members, as their scores are joined; of members of one recipe it is that recipe's own.
        log_odds = sum(recipes.count(k) / len(recipes) * self.log_odds[k] for k in sorted(set(recipes)))
        thresholds = optimise(objective, voting.threshold_method, self.run.seed, **voting.threshold_options)
        thresholds = shrink(objective, thresholds, (1 - part) * voting.shrinkage, log_odds)
        drawn = " with labels drawn from their probabilities" if voting.label_draws else ""
        twice = " (also as annotators of other habits might label them)" if voting.other_habits else ""
        beside = f" and {len(self.first.convention_rows)} synthetic ones" if part else ""
        self.log(
            f"{title}: thresholds from {len(rows)} recordings{drawn}{twice}{beside}, "
            f"{metric_name(self.run.classes)} there: "
            + ", ".join(f"{stage} {value:.3f}" for stage, value in thresholds.stages)
        )
        return thresholds

    def _decision_of_mean(self) -> _Decision:
        """What decides by the members' mean score.

        A recording counts if some members did not train on it ("out of bag"), with the mean score of these members.
        """
        members = sorted(self.results)
        if self.decision is None or self.decision.members != members:
            rows, scores = self._out_of_bag({member: self.results[member].scores for member in members})
            title = f"out of bag, {len(members)} member{'s' * (len(members) > 1)}"
            # Members score the convention rows alike, as they score a recording that none of them has seen.
            of_conventions = np.mean([self.results[member].convention_scores for member in members], axis=0)
            thresholds = self._optimise(rows, scores, of_conventions, members, title)
            line, context = None, self._context(rows, scores, of_conventions, thresholds)
            if self.run.recipe.voting.calibrated:
                known = None if self.known is None else self.known[rows]
                line = fit_probabilities(self.labels[rows], scores, known)
                thresholds = replace(thresholds, values=line(thresholds.values))
            self.decision = _Decision(members, thresholds, len(rows), line, context)
        return self.decision

    def _context(
        self, rows: np.ndarray, scores: np.ndarray, of_conventions: np.ndarray, thresholds: Thresholds
    ) -> Context | None:
        """What moves the thresholds of a recording; None if the recipe moves none.

        It is also None without convention recordings, since real ones alone do not say how likely a class is at other
        hospitals, and for classes that are not scored by the Challenge metric of 2020 and 2021.
        """
        voting, classes, conventions = self.run.recipe.voting, self.run.classes, self.first.convention_rows
        if not voting.context_part or classes.year != "2020" or not len(conventions):
            return None
        truth = np.concatenate([self.truth[rows], self.labels[conventions]])
        line = fit_probabilities(truth, np.concatenate([scores, of_conventions]))
        habits = tuple(Habits(*values) for values in habits_of_annotators(classes.codes, voting.other_habits))
        return Context(voting.context_part, thresholds.values, line, habits, classes.weights)

    def _out_of_bag(self, values: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The members' mean of values of their validation rows, and the rows; see out_of_bag.out_of_bag."""
        parts = [self.run.recipe.part_of_member[member] for member in values]
        rows = [self.validation[member] for member in values]
        return out_of_bag(parts, rows, list(values.values()), len(self.labels))

    def _votes(self) -> int:
        """How many members have to give a class, chosen by the labels that they give out of bag."""
        results = {member: self.results[member] for member in sorted(self.results)}
        cuts = {member: self.thresholds[member].values for member in results}
        rows, shares = self._out_of_bag({member: decide(results[member].scores, cuts[member]) for member in results})
        of_conventions = np.mean(
            [decide(results[member].convention_scores, cuts[member]) for member in results], axis=0
        )
        votes = best_votes(self._objective(rows, shares, of_conventions)[0], len(results))
        self.log(f"votes: a class is given if {votes} of {len(results)} members give it, from {len(rows)} recordings")
        return votes

    def _publish(self, complete: bool) -> None:
        """Assembles the model of the members that are done in .work/model, and puts it into the model folder."""
        snapshot = self.run.work / "model"
        shutil.rmtree(snapshot, ignore_errors=True)
        snapshot.mkdir()
        for member in self.results:
            link_or_copy(self.first.weights_path(member), member_path(snapshot, member))
        self._write_descriptions(snapshot)
        write_json(snapshot / MANIFEST, sealed(self._manifest(complete, hashes_of(snapshot))))
        publish(snapshot, self.run.folder)

    def _write_descriptions(self, snapshot: Path) -> None:
        """All files of a model but its weights and recipe.json."""
        run, rows, classes, headers = self.run, self.first.rows, self.run.classes, self.first.store.headers
        members = sorted(self.results)
        decision = self._decision_of_mean()
        # A published recipe's members decide by majority. Those of several recipes are as many as their own vote takes.
        chooses_votes = isinstance(run.recipe, JoinedRecipe) and run.recipe.voting.thresholds == "members"
        write_json(
            snapshot / "classes.json",
            dict(
                **classes.to_dict(),
                abbreviations=classes.abbreviations,
                priors=self._priors().tolist(),
            ),
        )
        write_json(
            snapshot / "thresholds.json",
            dict(
                used=run.recipe.voting.thresholds,
                **(dict(votes=self._votes()) if chooses_votes else {}),
                labels_added_by_rate=self.added,
                ensemble=dict(
                    **self._described(decision.thresholds, decision.recordings),
                    **self._described_map(decision.line),
                    **self._described_context(decision.context),
                ),
                members={
                    member: self._described(self.thresholds[member], len(self.validation[member])) for member in members
                },
            ),
        )
        write_json(
            snapshot / "splits.json",
            dict(
                recordings=[headers[row] for row in rows],
                validation_of_member={member: [headers[row] for row in self.validation[member]] for member in members},
            ),
        )
        history = [row for member in members for row in self.results[member].history]
        replace_file(snapshot / HISTORY, lambda partial: write_history(history, partial))
        replace_file(snapshot / "progress.png", lambda partial: draw_progress(history, partial))
        write_text(snapshot / CARD, model_card(self._facts(decision.thresholds, decision.recordings)))

    def _priors(self) -> np.ndarray:
        """Share of the recordings that have each class, of the user's own of those where it is known; (classes,)."""
        rows = self.first.rows
        if self.scored is None:
            return self.labels[rows].mean(axis=0)
        return (self.labels & self.scored)[rows].sum(axis=0) / np.maximum(self.scored[rows].sum(axis=0), 1)

    def _facts(self, ensemble: Thresholds, recordings: int) -> Facts:
        """What the model card says of the members that are done."""
        run, store, rows = self.run, self.first.store, self.first.rows
        epochs: list[list[int]] = [[] for _ in run.parts]
        for member in sorted(self.results):
            epochs[run.recipe.part_of_member[member]].append(len(self.results[member].history))
        stores = [part.store for part in run.parts]
        return Facts(
            recipe=run.recipe,
            classes=run.classes,
            parts=[
                Part(part, tuple(of_part), parameters_of(part, len(run.classes.codes)))
                for part, of_part in zip(run.recipe.parts, epochs)
            ],
            seed=run.seed,
            headers=[store.headers[row] for row in rows if not store.synthetic[row]],
            synthetic=max(int((each.synthetic & ~each.conventions).sum()) for each in stores),
            labels=self.labels[rows],
            known=None if self.scored is None else self.scored[rows],
            origin=self.first.origin,
            start=None if self.first.start is None else self.first.start.words,
            has_teacher=self.first.teacher is not None,
            metadata=store.metadata[rows],
            threshold_stages=ensemble.stages,
            threshold_recordings=recordings,
            version=__version__,
        )

    def _described(self, thresholds: Thresholds, recordings: int) -> dict[str, Any]:
        """Thresholds as thresholds.json has them."""
        return dict(
            recordings=recordings,
            thresholds=dict(zip(self.run.classes.codes, thresholds.values.tolist())),
            metric_after=dict(thresholds.stages),
        )

    def _described_map(self, line: LogisticMap | None) -> dict[str, Any]:
        """The map of scores to probabilities as thresholds.json has it; empty if there is none."""
        if line is None:
            return {}
        codes = self.run.classes.codes
        slopes, intercepts = (dict(zip(codes, values.tolist())) for values in (line.slopes, line.intercepts))
        return dict(slopes=slopes, intercepts=intercepts)

    def _described_context(self, context: Context | None) -> dict[str, Any]:
        """What moves the thresholds of a recording as thresholds.json has it; empty if nothing does.

        The part is in recipe.json and the weights are in classes.json.
        """
        if context is None:
            return {}
        values = context.to_dict(self.run.classes.codes)
        return dict(context={name: value for name, value in values.items() if name not in ("part", "weights")})

    def _manifest(self, complete: bool, files: dict[str, str]) -> dict[str, Any]:
        """Content of recipe.json, without which there is no model: it names the members, and the hash of each file."""
        run = self.run
        return dict(
            **({} if self.first.start is None else dict(started_from=self.first.start.to_dict())),
            format=format_of(run.recipe),
            twelvelead=__version__,
            torch=torch.__version__,
            complete=complete,
            members=sorted(self.results),
            **(
                dict(recipe_of_member=names_of_members(run.recipe, sorted(self.results)))
                if isinstance(run.recipe, JoinedRecipe)
                else {}
            ),
            seed=run.seed,
            recordings=len(self.first.rows),
            synthetic_recordings=max(len(part.synthetic_rows) for part in run.parts),
            key=self.run.model_key,
            recipe=to_dict(run.recipe),
            files=files,
            **({} if self.first.teacher is None else dict(teacher=self.first.teacher)),
        )


def _log_odds(run: TrainingRun) -> np.ndarray:
    """How far each class's frequency among the training recordings shifts its scores' log-odds; float64 (classes,)."""
    labels = run.labels()
    training, known = run.recipe.training, run.known_labels(labels)
    rows = np.concatenate([run.rows, run.synthetic_rows])
    weighted = any(phase.loss in WEIGHTED for phase in training.phases)
    # Each member trains on a part of the real recordings, in which classes are as frequent as in all of them.
    trained = len(run.member_rows(labels, run.members[0] if run.members else 0)[0])
    uses = uses_in_one_epoch(run.recipe, trained, len(run.rows), len(run.synthetic_rows))
    return frequency_log_odds(
        labels[rows], None if known is None else known[rows], weighted, training.largest_class_weight, uses
    )
