"""The model folder while members are trained: it grows by each member that is done, and is a model at any moment.

book = Book(job, …)
book.collect_finished()          # takes in members that have been finished since
book.complete()
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..data.classes import DIAGNOSES
from ..errors import UserError
from ..files import replace_file, write_json
from ..inference.ensemble import FORMAT, member_path
from ..inference.model_files import sealed
from ..plots.progress import draw_progress, write_history
from ..recipes import to_dict
from ..thresholds.objectives import METRIC_OF, objective_of
from ..thresholds.search import Thresholds, optimise, shrink
from .losses import frequency_log_odds
from .member import TrainedMember
from .run import TrainingRun
from .time_budget import Deadline

# The files of a model folder besides the members' weights and recipe.json itself.
PARTS = ("classes.json", "thresholds.json", "splits.json", "history.csv", "progress.png")


class ModelFolder:
    """Keeps the model folder a model of the members that are done, and run.json of the time that was used."""

    def __init__(self, run: TrainingRun, used: float, started: float, until: Deadline, log: Callable[[str], None]):
        self.run, self.used, self.started, self.until, self.log = run, used, started, until, log
        self.labels = run.classes.labels(run.store.codes)
        self.truth = run.threshold_labels(self.labels)
        added = (self.truth & ~self.labels).sum(axis=0)
        self.added = {code: int(count) for code, count in zip(run.classes.codes, added) if count}
        if self.added:
            log(
                "thresholds: by its heart rate, sinus rhythm also counts as "
                + " and ".join(f"{DIAGNOSES[code][1]} in {count} recordings" for code, count in self.added.items())
            )
        self.results: dict[int, TrainedMember] = {}
        self.found: dict[int, Thresholds] = {}
        self.validation: dict[int, np.ndarray] = {}  # rows of the store
        self.noted = 0.0
        self.log_odds = _log_odds(run, self.labels) if run.recipe.voting.shrinkage else 0.0
        self.collect_finished()

    def collect_finished(self) -> None:
        """Takes in members that have been finished since the last look."""
        if time.time() - self.noted > 2:
            self.noted = time.time()
            write_json(
                self.run.work / "run.json",
                dict(
                    key=self.run.key,
                    seconds=self.used + self.noted - self.started,
                    deadline=None if np.isinf(self.until.at) else self.until.at,
                ),
            )
        grown = False
        for member in range(self.run.recipe.voting.members):
            weights, result = member_path(self.run.folder, member), self.run.result_path(member)
            if member in self.results or not (weights.is_file() and result.is_file()):
                continue
            with np.load(result) as arrays:
                self.results[member] = TrainedMember({}, arrays["scores"], json.loads(str(arrays["history"])))
            rows = self.validation[member] = self.run.member_rows(self.labels, member)[1]
            self.found[member] = self._optimise(rows, self.results[member].scores, f"member {member}")
            grown = True
        if grown:
            self._write_parts()
            self._write_manifest(complete=False)

    def complete(self) -> None:
        if not self.results:
            raise UserError(f"{self.job.folder}: no member was trained")
        self._write_manifest(complete=True)

    def _optimise(self, rows: np.ndarray, scores: np.ndarray, title: str) -> Thresholds:
        classes, voting = self.run.classes, self.run.recipe.voting
        objective = objective_of(classes, self.truth[rows], scores)
        found = optimise(objective, voting.threshold_method, self.run.seed, **voting.threshold_options)
        found = shrink(objective, found, voting.shrinkage, self.log_odds)
        self.log(
            f"{title}: thresholds from {len(rows)} recordings, {METRIC_OF[classes.year]} there: "
            + ", ".join(f"{stage} {value:.3f}" for stage, value in found.stages)
        )
        return found

    def _write_parts(self) -> None:
        """All files but the members' and the manifest."""
        run, classes, store, folder = self.run, self.run.classes, self.run.store, self.run.folder
        members = sorted(self.results)
        validation = {member: self.validation[member] for member in members}
        scores, count = np.zeros(self.labels.shape), np.zeros(len(self.labels), dtype=int)
        for member, rows in validation.items():  # out of bag: scored by members that did not train on them
            scores[rows] += self.results[member].scores
            count[rows] += 1
        bag = np.flatnonzero(count)
        together = self._optimise(
            bag, scores[bag] / count[bag, None], f"out of bag, {len(members)} member{'s' * (len(members) > 1)}"
        )

        def as_dict(found: Thresholds, recordings: int) -> dict[str, Any]:
            return dict(
                recordings=recordings,
                thresholds=dict(zip(classes.codes, found.values.tolist())),
                metric_after=dict(found.stages),
            )

        history = [row for member in members for row in self.results[member].history]
        write_json(
            folder / "classes.json",
            dict(
                **classes.to_dict(),
                abbreviations=classes.abbreviations,
                priors=self.labels[run.rows].mean(axis=0).tolist(),
            ),
        )
        write_json(
            folder / "thresholds.json",
            dict(
                used=run.recipe.voting.thresholds,
                labels_added_by_rate=self.added,
                ensemble=as_dict(together, len(bag)),
                members={member: as_dict(self.found[member], len(rows)) for member, rows in validation.items()},
            ),
        )
        write_json(
            folder / "splits.json",
            dict(
                recordings=[store.headers[row] for row in run.rows],
                validation_of_member={
                    member: [store.headers[row] for row in rows] for member, rows in validation.items()
                },
            ),
        )
        replace_file(folder / "history.csv", lambda path: write_history(history, path))
        replace_file(folder / "progress.png", lambda path: draw_progress(history, path))

    def _write_manifest(self, complete: bool) -> None:
        """recipe.json, without which there is no model: it names the members."""
        run = self.run
        write_json(
            run.folder / "recipe.json",
            sealed(
                dict(
                    format=FORMAT,
                    twelvelead=__version__,
                    torch=torch.__version__,
                    complete=complete,
                    members=sorted(self.results),
                    seed=run.seed,
                    recordings=len(run.rows),
                    key=run.key,
                    recipe=to_dict(run.recipe),
                    files={
                        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                        for path in [
                            *(member_path(run.folder, member) for member in sorted(self.results)),
                            *(run.folder / name for name in PARTS),
                        ]
                    },
                )
            ),
        )


def _log_odds(run: TrainingRun, labels: np.ndarray) -> np.ndarray:
    """What each class's frequency among the training recordings adds to its scores' log-odds."""
    training, known = run.recipe.training, run.known_labels(labels)
    weighted = any(phase.loss == "weighted_cross_entropy" for phase in training.phases)
    return frequency_log_odds(
        labels[run.rows], None if known is None else known[run.rows], weighted, training.largest_class_weight
    )
