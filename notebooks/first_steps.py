# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First steps
#
# Train a small model, look at what it says about one recording, and compare two recipes. Everything is made on the
# spot: the recordings are synthetic, nothing is downloaded, and a CPU needs about two minutes. Figures of such a small
# model on so few made-up recordings say nothing about real hearts; docs/results.md has those that do.
#
# Open it as a notebook with `pip install jupytext` and `jupytext --to notebook notebooks/first_steps.py`, or run it as
# it is: `python notebooks/first_steps.py`.

# %%
import tempfile
from pathlib import Path

import twelvelead
from twelvelead import commands
from twelvelead.settings import Settings
from twelvelead.synthetic import write_hospital

folder = Path(tempfile.mkdtemp(prefix="first-steps-"))
print(folder)

# %% [markdown]
# ## Recordings
#
# Two made-up hospitals to train on, and one that training never sees. They write their files differently, but the
# hearts are of the same kind. `twelvelead synthesize` does the same from a shell.

# %%
for hospital in ("alder", "birch"):
    write_hospital(folder / "train" / hospital, hospital, 40, seed=1)
unseen = write_hospital(folder / "test" / "elm", "elm", 24, seed=2)
recording = twelvelead.read_recording(unseen[0])
print(recording.name, recording.leads, f"{recording.frequency_hz:g} Hz", recording.codes)

# %% [markdown]
# ## A model
#
# The default recipe with a tiny budget: two members with few filters, six epochs. After each epoch the log says how
# long it will still take. `synthetic=0` leaves out the thousands of synthetic recordings that the recipe learns from
# otherwise.

# %%
settings = Settings(members=2, epochs=6, width=6, synthetic=0, device="cpu", jobs=1, workers=1)
commands.train(folder / "train", folder / "model", settings)
print(sorted(path.name for path in (folder / "model").iterdir()))

# %% [markdown]
# ## One recording
#
# Every class with its probability, its threshold and how many members agree.

# %%
model = twelvelead.load(folder / "model", device="cpu")
result = model.predict(recording)
print(result)
print("found:", [each.name for each in result.found])
print("probability of sinus rhythm:", round(result["NSR"].probability, 3))

# %% [markdown]
# ## Look at it
#
# The ECG sheet with the probabilities beside it, and how training went.

# %%
result.draw(folder / "prediction.png")
pictures = [folder / "prediction.png", folder / "model" / "progress.png"]
try:
    from IPython.display import Image, display
except ImportError:  # run as a script
    print("pictures:", *pictures, sep="\n  ")
else:
    for picture in pictures:
        display(Image(filename=str(picture)))

# %% [markdown]
# ## Two recipes on the same recordings
#
# Cross-validation with two folds: both recipes are trained and tested on the same parts, and their difference is
# paired. The table has 95 % intervals. With 80 recordings they are wide, and neither recipe can win.

# %%
small = Settings(members=1, epochs=2, width=4, synthetic=0, device="cpu", jobs=1, workers=1)
commands.experiment(
    "crossval",
    2,
    folder / "train",
    folder / "comparison",
    ["butt", "butt-2020"],
    small,
    parameters=None,
    resamples=100,
    discard_models=True,
)
print((folder / "comparison" / "table.md").read_text(encoding="utf-8"))
