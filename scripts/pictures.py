#!/usr/bin/env python
"""Makes the pictures of the README from a trained model and synthetic recordings; none shows a real recording.

    python scripts/pictures.py MODEL [docs/pictures] [--number 35] [--explain PVC]

prediction.png    what `twelvelead predict` draws: a synthetic recording, the probabilities of its diagnoses beside it
training.png      how MODEL was trained, from its history.csv
report.png        the beginning of the page of `twelvelead report`, for recordings of the five made-up hospitals, in a
                  minute; left out where Chromium is not installed

The recording is number N of those with seed 2021, which no training uses with the default seed.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the script can be run from any folder, installed or not
    sys.path.insert(0, str(ROOT))

from twelvelead.commands import classify, synthesize  # noqa: E402
from twelvelead.errors import UserError  # noqa: E402
from twelvelead.plots.progress import draw_progress  # noqa: E402
from twelvelead.prediction.model import load  # noqa: E402
from twelvelead.report.command import write_report  # noqa: E402
from twelvelead.report.inputs import Request  # noqa: E402
from twelvelead.settings import Settings  # noqa: E402
from twelvelead.synthetic import draw_recording  # noqa: E402

SEED = 2021
TEXTS = ("loss",)  # columns of history.csv that are no numbers
WHOLE = ("member", "epoch")
OF_EACH_HOSPITAL = 40  # recordings in the report
CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1180,860")


def history_of(model: Path) -> list[dict]:
    """The rows of a model's history.csv, as draw_progress takes them."""
    with open(model / "history.csv", newline="", encoding="utf-8") as file:
        return [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(name: str, text: str) -> str | int | float:
    return text if name in TEXTS else int(text) if name in WHOLE else float(text)


def make_pictures(model_folder: Path, out: Path, number: int, explain: str | None) -> list[Path]:
    """Writes the pictures and returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    prediction, training = out / "prediction.png", out / "training.png"
    model = load(model_folder, device="cpu")
    result = model.predict(draw_recording(SEED, number))
    result.draw(prediction, explanation=model.explain(result, explain) if explain else None)
    draw_progress(history_of(model_folder), training)
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        return [prediction, training]
    with tempfile.TemporaryDirectory() as folder:
        return [prediction, training, draw_report(model_folder, out / "report.png", browser, Path(folder))]


def draw_report(model: Path, picture: Path, browser: str, work: Path) -> Path:
    """Draws the beginning of a report on the model's outputs for synthetic recordings."""
    synthesize(work / "recordings", None, OF_EACH_HOSPITAL, SEED)
    classify(model, work / "recordings", work / "outputs", Settings(device="cpu"))
    page = write_report(Request(work / "recordings", work / "outputs", work / "report.html", model=model))
    options = [*CHROMIUM, f"--user-data-dir={work / 'browser'}", f"--screenshot={picture.resolve()}"]
    subprocess.run([browser, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder that training wrote")
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "docs" / "pictures", metavar="FOLDER")
    parser.add_argument("--number", type=int, default=35, help="of the synthetic recording (35)")
    parser.add_argument("--explain", metavar="CLASS", help="show where the score of a class comes from, such as PVC")
    arguments = parser.parse_args()
    try:
        pictures = make_pictures(arguments.model, arguments.out, arguments.number, arguments.explain)
    except (UserError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"pictures.py: {error}")
    for picture in pictures:
        print(picture)


if __name__ == "__main__":
    main()
