"""Training with two threads does not crash, whatever the architecture, its width and the size of the batch.

torch's native code has crashed for one combination of these: a convolution of one tap with stride 2, fewer than 16
channels, and a batch that the threads do not divide. Each architecture is therefore trained in a process of its own,
so that a crash is a failed test and not the end of all tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from twelvelead import models
from twelvelead.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
# The first recipe of each architecture
RECIPE_OF = {part.model: part.name for recipe in reversed(RECIPES.values()) for part in recipe.parts}
BATCHES = 7, 27, 31  # odd, so that two threads get unequal parts
PARAMETERS = range(100_000, 1_000_001, 100_000)
SAMPLES = 256  # enough to crash where it did

TRAIN = """
import sys
import torch
from twelvelead.errors import UserError
from twelvelead.experiments.budget import narrowed
from twelvelead.models.network import accelerated, new_model
from twelvelead.recipes import get_recipe

recipe, samples, *numbers = sys.argv[1:]
batches, budgets = [int(n) for n in numbers[0].split(",")], [int(n) for n in numbers[1].split(",")]
torch.set_num_threads(2)
recipe = get_recipe(recipe)
widths = sorted({narrowed(recipe, 24, budget).network["width"] for budget in budgets})
for k, width in enumerate(widths):
    for fast in (True, False) if k == 0 else (True,):  # plain convolutions, as without models/cpu, take long
        model = new_model(recipe.scaled(width=width), 24).train()
        model = accelerated(model, training=True) if fast else model
        for batch in batches:
            print(f"width {width}, batch {batch}, {'accelerated' if fast else 'plain'}", flush=True)
            x = torch.randn(batch, int(samples), recipe.input.channels).transpose(1, 2)  # as training.batches.gather
            valid = torch.ones(batch, int(samples), dtype=torch.bool)
            valid[0, 300:] = False
            model.zero_grad()
            model(x, valid).square().mean().backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
print("widths", *widths)
"""


def test_every_architecture_has_a_recipe():
    assert set(RECIPE_OF) == set(models.names())


@pytest.mark.long
@pytest.mark.parametrize("name", models.names())
def test_two_threads_train_every_width_and_odd_batches(name):
    numbers = [",".join(map(str, values)) for values in (BATCHES, PARAMETERS)]
    command = [sys.executable, "-c", TRAIN, RECIPE_OF[name], str(SAMPLES), *numbers]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = (run.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    assert run.returncode == 0, f"ended with {run.returncode} at {last}\n{run.stderr[-2000:]}"
    assert last.startswith("widths") and len(last.split()) > 5  # several widths were tried
