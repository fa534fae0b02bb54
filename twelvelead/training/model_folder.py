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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..data.classes import DIAGNOSES
from ..errors import UserError
from ..files import replace_file, write_json, write_text
from ..inference.model_files import FORMAT, manifest_of, member_path, sealed
from ..models.network import parameters_of
from ..plots.progress import draw_progress, write_history
from ..recipes import to_dict
from ..thresholds.objectives import joined, metric_name, objective_of
from ..thresholds.search import Thresholds, optimise, shrink
from .losses import WEIGHTED, frequency_log_odds
from .member import TrainedMember
from .member_data import uses_in_one_epoch
from .member_files import ResultError, delete_result, read_result
from .model_card import CARD, Facts, model_card
from .publishing import HISTORY, MANIFEST, hashes_of, link_or_copy, publish
from .run import TrainingRun
from .time_budget import Deadline

NOTE_S = 2  # run.json says so often how much time was used


class ModelFolder:
    """Collects members that are done, searches thresholds, and puts the model into its folder.

    Parameters
    ----------
    seconds_used : float
        Of the time budget, by earlier runs that were killed.
    started : float
        When this run started, time.time().
    """

    def __init__(
        self, run: TrainingRun, seconds_used: float, started: float, until: Deadline, log: Callable[[str], None]
    ):
        self.run, self.seconds_used, self.started, self.until, self.log = run, seconds_used, started, until, log
        self.labels = run.labels()
        self.known = run.known_labels(self.labels) if run.classes.are_own else None  # that metrics look at; None: all
        self.truth = run.threshold_labels(self.labels)
        added = (self.truth & ~self.labels)[run.rows].sum(axis=0)
        self.added = {code: int(count) for code, count in zip(run.classes.codes, added) if count}
        if self.added:
            log(
                "thresholds: by its heart rate, sinus rhythm also counts as "
                + " and ".join(f"{DIAGNOSES[code][1]} in {count} recordings" for code, count in self.added.items())
            )
        self.results: dict[int, TrainedMember] = {}
        self.thresholds: dict[int, Thresholds] = {}
        self.validation: dict[int, np.ndarray] = {}  # rows of the store that validate each member
        self.ensemble: tuple[list[int], Thresholds, int] | None = None  # members, their thresholds, from so many rows
        self.time_of_note = 0.0
        self.log_odds = _log_odds(run, self.labels) if run.recipe.voting.shrinkage else 0.0
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
                trained = read_result(self.run, member)
            except ResultError as error:
                self.log(f"{self.run.result_path(member)}: not used, {error}; member {member} is trained again")
                delete_result(self.run, member)
                continue
            if trained is None:
                continue
            self.results[member] = trained
            rows = self.validation[member] = self.run.member_rows(self.labels, member)[1]
            self.thresholds[member] = self._optimise(
                rows, trained.scores, trained.convention_scores, f"member {member}"
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

    def _optimise(self, rows: np.ndarray, scores: np.ndarray, convention_scores: np.ndarray, title: str) -> Thresholds:
        """Thresholds for scores (rows, classes) of these rows, and for the scores of the convention rows."""
        classes, voting = self.run.classes, self.run.recipe.voting
        objective = objective_of(classes, self.truth[rows], scores, None if self.known is None else self.known[rows])
        shrinkage = voting.shrinkage
        conventions = self.run.convention_rows if voting.convention_part else np.zeros(0, dtype=np.int64)
        if len(conventions):
            of_conventions = objective_of(classes, self.labels[conventions], convention_scores)
            objective = joined(objective, of_conventions, voting.convention_part)
            shrinkage = 0.0
        thresholds = optimise(objective, voting.threshold_method, self.run.seed, **voting.threshold_options)
        thresholds = shrink(objective, thresholds, shrinkage, self.log_odds)
        beside = f" and {len(conventions)} synthetic ones" if len(conventions) else ""
        self.log(
            f"{title}: thresholds from {len(rows)} recordings{beside}, {metric_name(classes)} there: "
            + ", ".join(f"{stage} {value:.3f}" for stage, value in thresholds.stages)
        )
        return thresholds

    def _ensemble_thresholds(self) -> tuple[Thresholds, int]:
        """Thresholds of the members' mean score, and from how many recordings.

        A recording counts if some members did not train on it ("out of bag"), with the mean score of these members.
        """
        members = sorted(self.results)
        if self.ensemble is None or self.ensemble[0] != members:
            total, count = np.zeros(self.labels.shape), np.zeros(len(self.labels), dtype=int)
            for member in members:
                rows = self.validation[member]
                total[rows] += self.results[member].scores
                count[rows] += 1
            rows = np.flatnonzero(count)
            title = f"out of bag, {len(members)} member{'s' * (len(members) > 1)}"
            # Members score the convention rows alike, as they score a recording that none of them has seen.
            of_conventions = np.mean([self.results[member].convention_scores for member in members], axis=0)
            thresholds = self._optimise(rows, total[rows] / count[rows, None], of_conventions, title)
            self.ensemble = members, thresholds, len(rows)
        return self.ensemble[1:]

    def _publish(self, complete: bool) -> None:
        """Assembles the model of the members that are done in .work/model, and puts it into the model folder."""
        snapshot = self.run.work / "model"
        shutil.rmtree(snapshot, ignore_errors=True)
        snapshot.mkdir()
        for member in self.results:
            link_or_copy(self.run.weights_path(member), member_path(snapshot, member))
        self._write_descriptions(snapshot)
        write_json(snapshot / MANIFEST, sealed(self._manifest(complete, hashes_of(snapshot))))
        publish(snapshot, self.run.folder)

    def _write_descriptions(self, snapshot: Path) -> None:
        """All files of a model but its weights and recipe.json."""
        run, classes, headers = self.run, self.run.classes, self.run.store.headers
        members = sorted(self.results)
        ensemble, recordings = self._ensemble_thresholds()
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
                labels_added_by_rate=self.added,
                ensemble=self._described(ensemble, recordings),
                members={
                    member: self._described(self.thresholds[member], len(self.validation[member])) for member in members
                },
            ),
        )
        write_json(
            snapshot / "splits.json",
            dict(
                recordings=[headers[row] for row in run.rows],
                validation_of_member={member: [headers[row] for row in self.validation[member]] for member in members},
            ),
        )
        history = [row for member in members for row in self.results[member].history]
        replace_file(snapshot / HISTORY, lambda partial: write_history(history, partial))
        replace_file(snapshot / "progress.png", lambda partial: draw_progress(history, partial))
        write_text(snapshot / CARD, model_card(self._facts(ensemble, recordings)))

    def _priors(self) -> np.ndarray:
        """Share of the recordings that have each class, of those where it is known; float64 (classes,)."""
        rows = self.run.rows
        if self.known is None:
            return self.labels[rows].mean(axis=0)
        return (self.labels & self.known)[rows].sum(axis=0) / np.maximum(self.known[rows].sum(axis=0), 1)

    def _facts(self, ensemble: Thresholds, recordings: int) -> Facts:
        """What the model card says of the members that are done."""
        run = self.run
        epochs = tuple(len(self.results[member].history) for member in sorted(self.results))
        return Facts(
            recipe=run.recipe,
            classes=run.classes,
            members=len(self.results),
            epochs=epochs,
            parameters=parameters_of(run.recipe, len(run.classes.codes)),
            seed=run.seed,
            headers=[run.store.headers[row] for row in run.rows if not run.store.synthetic[row]],
            synthetic=int((run.store.synthetic & ~run.store.conventions).sum()),
            labels=self.labels[run.rows],
            known=None if self.known is None else self.known[run.rows],
            origin=run.origin,
            start=None if run.start is None else run.start.words,
            metadata=run.store.metadata[run.rows],
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

    def _manifest(self, complete: bool, files: dict[str, str]) -> dict[str, Any]:
        """Content of recipe.json, without which there is no model: it names the members, and the hash of each file."""
        run = self.run
        started_from = {} if run.start is None else {"started_from": run.start.to_dict()}
        return dict(
            **started_from,
            format=FORMAT,
            twelvelead=__version__,
            torch=torch.__version__,
            complete=complete,
            members=sorted(self.results),
            seed=run.seed,
            recordings=len(run.rows),
            synthetic_recordings=len(run.synthetic_rows),
            key=self.run.model_key,
            recipe=to_dict(run.recipe),
            files=files,
        )


def _log_odds(run: TrainingRun, labels: np.ndarray) -> np.ndarray:
    """How far each class's frequency among the training recordings shifts its scores' log-odds; float64 (classes,)."""
    training, known = run.recipe.training, run.known_labels(labels)
    rows = np.concatenate([run.rows, run.synthetic_rows])
    weighted = any(phase.loss in WEIGHTED for phase in training.phases)
    # Each member trains on a part of the real recordings, in which classes are as frequent as in all of them.
    trained = len(run.member_rows(labels, 0)[0])
    uses = uses_in_one_epoch(run.recipe, trained, len(run.rows), len(run.synthetic_rows))
    return frequency_log_odds(
        labels[rows], None if known is None else known[rows], weighted, training.largest_class_weight, uses
    )
