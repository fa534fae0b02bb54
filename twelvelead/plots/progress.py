"""history.csv and progress.png of a model folder: losses and validation metric of every member in every epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

COLUMNS = (
    "member",
    "epoch",
    "loss",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "metric",
    "threshold",
    "auprc",
    "seconds",
)


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Writes one row for each epoch of each member; a row is a dictionary with the keys of `COLUMNS`."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def draw_progress(history: list[dict[str, Any]], path: Path) -> None:
    """Draws one curve for each member: the validation metric at its best common threshold, and below it each loss."""
    # Imported here since it takes a second, which is too long for classifying one recording.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    members = sorted({row["member"] for row in history})
    losses = list(dict.fromkeys(row["loss"] for row in history))
    figure = Figure(figsize=(9, 3 + 2 * len(losses)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(losses), 1, sharex=True, squeeze=False)[:, 0]
    for member in members:
        rows = [row for row in history if row["member"] == member]
        axes[0].plot(
            [row["epoch"] for row in rows], [row["metric"] for row in rows], marker=".", label=f"member {member}"
        )
        for axis, loss in zip(axes[1:], losses):
            part = [row for row in rows if row["loss"] == loss]
            axis.plot([row["epoch"] for row in part], [row["train_loss"] for row in part], marker=".")
    axes[0].set_ylabel("metric with one threshold,\nvalidation part")
    axes[0].legend(fontsize="small", ncols=4, loc="lower right")
    for axis, loss in zip(axes[1:], losses):
        axis.set_ylabel(f"training loss,\n{loss.replace('_', ' ')}")
    axes[-1].set_xlabel("epoch")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100, format="png")
