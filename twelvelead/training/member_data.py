"""The recordings that one member trains on and is validated with, and what is computed from them.

member_data = MemberData(data, labels, train_rows, validation_rows, recipe, classes)
loss = member_data.loss("cross_entropy", logits, rows)
validation = validate(model, member_data, "cross_entropy")
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..data.classes import Classes
from ..evaluation.masked import evaluate_known
from ..evaluation.metrics import auprc, macro
from ..inference.predict import PackedRecordings, predict, to_device
from ..models.network import FilledLeads, Standardised
from ..recipes import Recipe
from ..thresholds.objectives import objective_of
from ..thresholds.search import common
from .losses import LOSSES, USES_DECISIONS, Weighting, class_weights

STATISTICS_RECORDINGS = 64  # whose samples are added up in float32 before the sum goes on in float64


class MemberData:
    """Recordings, labels and class weights of one member. Nothing here changes while the member trains.

    Parameters
    ----------
    data : PackedRecordings
        Recordings on the device that trains.
    labels : bool (recordings, classes)
    train_rows, validation_rows : int arrays
        Rows of `data` and `labels`.
    classes : Classes
        Of the columns of `labels`.
    known : bool (recordings, classes) or None
        Labels that take part in the loss; None means all of them.
    synthetic_rows : int array, optional
        Rows of synthetic recordings, of which every epoch draws some as the recipe says.
    """

    def __init__(
        self,
        data: PackedRecordings,
        labels: np.ndarray,
        train_rows: np.ndarray,
        validation_rows: np.ndarray,
        recipe: Recipe,
        classes: Classes,
        known: np.ndarray | None = None,
        synthetic_rows: np.ndarray | None = None,
    ):
        self.data, self.labels, self.recipe, self.classes = data, labels, recipe, classes
        self.train_rows, self.validation_rows = train_rows, validation_rows
        self.synthetic_rows = np.zeros(0, dtype=np.int64) if synthetic_rows is None else synthetic_rows
        learned = np.concatenate([train_rows, self.synthetic_rows])
        weights = class_weights(
            labels[learned],
            recipe.training.largest_class_weight,
            None if known is None else known[learned],
            uses_in_one_epoch(recipe, len(train_rows), len(train_rows), len(self.synthetic_rows)),
        )
        self.weighting = Weighting(*(self._tensor(array) for array in (*weights, classes.weights)))
        self.targets = self._tensor(labels)
        self.known = None if known is None else self._tensor(known)
        # Only the user's own labels leave unknown ones out of metrics; the Challenge takes them for absent.
        self.scored = known if classes.are_own else None

    def learn(self, targets: np.ndarray) -> None:
        """From now on the loss is that of these targets, (recordings, classes) from 0 to 1, in the place of the labels.

        All of them count as known. Validation still asks how well the labels are met, but for its loss.
        """
        self.targets, self.known = self._tensor(targets), None

    def rows_of_epoch(self, position: float, rng: np.random.Generator) -> np.ndarray:
        """The rows that an epoch learns from, int64, in no particular order.

        Parameters
        ----------
        position : float
            Where the epoch lies in the member's training, from 0 to 1.
        """
        plan = self.recipe.synthetic
        if len(self.synthetic_rows) == 0 or position > 1 - plan.last:
            return self.train_rows
        beside = plan.in_one_epoch(len(self.train_rows))
        if position < plan.first:
            return self._draw(beside + len(self.train_rows), rng)
        return np.concatenate([self.train_rows, self._draw(beside, rng)])

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many synthetic recordings, each at most once."""
        return rng.choice(self.synthetic_rows, min(count, len(self.synthetic_rows)), replace=False)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.data.device)

    def loss(self, name: str, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The loss of that name, a scalar, of the logits (rows, classes) for the recordings of these rows.

        `rows` lies on the device of the data, int64.

        A network with two heads has logits (rows, 2, classes) in training. Most losses are computed for each head, and
        the mean is returned, so that both learn. A loss that treats decisions otherwise (`USES_DECISIONS`) gets both
        heads of a network.DecisionHead, and the mean of the two heads of any other network.
        """
        if logits.dim() == 3 and name in USES_DECISIONS and not self.recipe.network.get("decision_head"):
            logits = logits.mean(dim=1)
        known = None if self.known is None else self.known[rows]
        heads = (logits,) if logits.dim() == 2 or name in USES_DECISIONS else logits.unbind(1)
        return torch.stack([LOSSES[name](head, self.targets[rows], self.weighting, known) for head in heads]).mean()


def uses_in_one_epoch(recipe: Recipe, trained: int, real: int, synthetic: int) -> np.ndarray:
    """How often an epoch that mixes both uses each recording, on average, relative to a real one.

    Parameters
    ----------
    trained : int
        Real recordings that a member trains on.
    real, synthetic : int
        Recordings that are meant: real ones, of which a member trains on some, and after them synthetic ones.

    Returns
    -------
    ndarray, float64 (real + synthetic,)
    """
    uses = np.ones(real + synthetic)
    if synthetic:
        drawn = min(recipe.synthetic.in_one_epoch(trained), synthetic)
        uses[real:] = drawn / synthetic * (real / trained if trained else 1.0)
    return uses


@dataclass(frozen=True)
class Validation:
    """How well a network does on the validation recordings; the figures are NaN where there are none.

    Attributes
    ----------
    recordings : int
    loss : float
        Of the loss in training.
    metric : float
        The classes' metric with the best common threshold, or the AUROC of the scores if that is the metric.
    threshold : float
        That threshold.
    auprc : float
        Area under the precision-recall curve, the mean over the classes that have positives.
    """

    recordings: int
    loss: float
    metric: float
    threshold: float
    auprc: float


def validate(model: torch.nn.Module, member_data: MemberData, loss: str) -> Validation:
    """Scores the validation recordings with the model as it is now, which is left in evaluation mode."""
    rows = member_data.validation_rows
    if len(rows) == 0:
        return Validation(0, math.nan, math.nan, math.nan, math.nan)
    model.eval()
    scores = predict(model, member_data.data, rows, member_data.recipe.input)
    scored = None if member_data.scored is None else member_data.scored[rows]
    best = common(objective_of(member_data.classes, member_data.labels[rows], scores, scored))
    device = member_data.data.device
    logits = to_device(scores, device).logit(1e-7)
    value = float(member_data.loss(loss, logits, to_device(rows, device)))
    metric, precision_recall = best.stages[-1][1], math.nan
    if not np.isnan(scores).any() and member_data.classes.are_own:
        figures = evaluate_known(member_data.labels[rows], scores >= best.values, scores, scored)
        precision_recall = figures["auprc"]
        if member_data.classes.metric == "auroc":
            metric = figures["auroc"]
    elif not np.isnan(scores).any():
        precision_recall = macro(auprc(member_data.labels[rows], scores))
    return Validation(len(rows), value, metric, float(best.values[0]), precision_recall)


def fit_input_statistics(model: torch.nn.Module, data: PackedRecordings, rows: np.ndarray) -> None:
    """Sets the statistics of the input that some networks keep: moments of the channels over all valid samples.

    `Standardised` needs each channel's mean and standard deviation, `FilledLeads` the second moments between leads.

    Parameters
    ----------
    rows : int array
        The training recordings. The validation recordings must not take part.
    """
    modules = [module for module in model.modules() if isinstance(module, (Standardised, FilledLeads))]
    if not modules:
        return
    channels, device = data.samples.shape[1], data.device
    count = 0
    total = torch.zeros(channels, dtype=torch.float64, device=device)
    products = torch.zeros(channels, channels, dtype=torch.float64, device=device)
    for first in range(0, len(rows), STATISTICS_RECORDINGS):
        index = data.sample_index(rows[first : first + STATISTICS_RECORDINGS])
        samples = data.samples[index].float()
        if data.valid is not None:
            valid = data.valid[index]
            samples *= valid[:, None]
            count += int(valid.sum())
        else:
            count += len(samples)
        total += samples.sum(dim=0).double()
        products += (samples.T @ samples).double()
    mean, products = total / max(count, 1), products / max(count, 1)
    deviation = (products.diagonal() - mean**2).clamp(min=0).sqrt()
    for module in modules:
        if isinstance(module, Standardised):
            module.get_buffer("mean").copy_(mean[:, None])
            module.get_buffer("deviation").copy_(torch.where(deviation > 0, deviation, 1.0)[:, None])
        else:
            module.get_buffer("covariance").copy_(products)
