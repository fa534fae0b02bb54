"""The organizers' scripts of both years, laid over the files that a Docker image holds, train, run and are scored.

twelvelead/preflight/organizers has stand-ins for their scripts, written from a description of them. Our own copies of
the files that they overwrite are absent, and the working directory is elsewhere, as it may be with them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made import matlab4, write, write_mat

from twelvelead.data.classes import DIAGNOSES, OUTPUT_CODES, SINUS_RHYTHM
from twelvelead.data.header import LEADS
from twelvelead.preflight.outputs import problem_of
from twelvelead.preflight.submission import RUN, TRAIN, YEARS, copy_submission, lay_scripts_over
from twelvelead.synthetic import make_recording

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow  # the scripts run in processes of their own

SETTINGS = {
    "RECIPE": "butt",
    "MEMBERS": "2",
    "EPOCHS": "2",
    "WIDTH": "4",
    "SEED": "3",
    "DEVICE": "cpu",
    "LIMIT": "32",
    "SYNTHETIC": "40",
    "TIME_BUDGET_HOURS": "1",
}
FINDINGS = ("NSR", "AF", "SB", "STach", "CRBBB", "LBBB", "IAVB", "PVC")
CODE = {abbreviation: code for code, (abbreviation, _) in DIAGNOSES.items()}
LEAD_SETS = (LEADS, LEADS[:6], ("I", "II", "III", "V2"), ("I", "II", "V2"), ("I", "II"))


class Place:
    """The submission as it stands with the organizers of each year, and a way to run their scripts.

    `before` is the state of each folder that nothing may change, from before the first script ran.
    """

    before: dict[str, dict[str, tuple[int, int]]]

    def __init__(self, root: Path):
        self.root, self.caches = root / "watched", root / "caches"
        for name in ("elsewhere", "home", "temporary"):
            (self.root / name).mkdir(parents=True)
        for year in YEARS:
            copy_submission(ROOT, self.root / year)
            lay_scripts_over(year, self.root / year)

    def run(self, folder: str, script: str, *arguments: str) -> str:
        """Runs a script, which must succeed, from another working directory; returns what it printed on both streams.

        Folders are named below `root`.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TWELVELEAD_")}
        environment |= {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "temporary")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        # what libraries leave: matplotlib a list of fonts in the home, torch an empty temporary folder
        environment |= {name: str(self.caches) for name in ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")}
        environment |= {f"TWELVELEAD_{name}": value for name, value in SETTINGS.items()}
        command = [sys.executable, self.root / folder / script, *(self.root / name for name in arguments)]
        result = subprocess.run(command, cwd=self.root / "elsewhere", env=environment, text=True, capture_output=True)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def rows(self, folder: str) -> dict[str, str]:
        return {path.name: path.read_bytes().decode() for path in (self.root / folder).iterdir()}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything below a folder; a folder's own time tells of files that came and went."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def write_synthetic(folder: Path, name: str, findings: list[str], seed: int, leads=LEADS) -> None:
    recording = make_recording(findings, seed=seed)
    adc = np.nan_to_num(recording.signal_mv * 1000).round()[[recording.leads.index(lead) for lead in leads]]
    write_mat(
        folder,
        name,
        adc,
        leads=leads,
        dx=",".join(CODE[finding] for finding in findings),
        frequency=f"{recording.frequency_hz:g}",
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """Training and test data, a model trained by the scripts of each year, and the outputs of each."""
    place = Place(tmp_path_factory.mktemp("organizers"))
    for k in range(40):
        write_synthetic(place.root / "training", f"A{k:04d}", [FINDINGS[k % len(FINDINGS)]], seed=k)
    for k in range(6):
        write_synthetic(place.root / "test", f"B{k:04d}", [FINDINGS[k]], seed=100 + k)
    for path in [*(place.root / "training").iterdir(), *(place.root / "test").iterdir()]:
        path.chmod(0o444)
    (place.root / "training").chmod(0o555)
    (place.root / "test").chmod(0o555)
    place.before = {
        name: state(place.root / name) for name in ("training", "test", "elsewhere", "home", "temporary", *YEARS)
    }
    for year in YEARS:
        place.run(year, TRAIN, "training", f"model-{year}")
        place.run(year, RUN[year], f"model-{year}", "test", f"outputs-{year}")
    return place


def test_the_scripts_of_both_years_train_the_same_model(place):
    files = ["classes.json", "thresholds.json", "splits.json", "member_00.safetensors", "member_01.safetensors"]
    for name in files:
        assert (place.root / "model-2020" / name).read_bytes() == (place.root / "model-2021" / name).read_bytes(), name
    one, other = (json.loads((place.root / f"model-{year}" / "recipe.json").read_text()) for year in YEARS)
    assert one == other


def test_environment_variables_reach_training(place):
    manifest = json.loads((place.root / "model-2020" / "recipe.json").read_text())
    assert (len(manifest["members"]), manifest["seed"], manifest["recordings"]) == (2, 3, 32)
    assert manifest["recipe"]["network"]["width"] == 4
    assert sum(phase["epochs"] for phase in manifest["recipe"]["training"]["phases"]) == 2


def test_training_and_running_leave_everything_else_as_it_was(place):
    for name, before in place.before.items():
        assert state(place.root / name) == before
    known = {*place.before, *(f"{what}-{year}" for what in ("model", "outputs") for year in YEARS)}
    assert {path.name for path in place.root.iterdir()} == known


def test_no_finished_model_folder_holds_a_store_or_a_checkpoint(place):
    for year in YEARS:
        names = {path.name for path in (place.root / f"model-{year}").iterdir()}
        assert names == {
            "MODEL_CARD.md",
            "recipe.json",
            "classes.json",
            "thresholds.json",
            "history.csv",
            "splits.json",
            "progress.png",
            "member_00.safetensors",
            "member_01.safetensors",
        }


@pytest.mark.parametrize("year", YEARS)
def test_outputs_are_four_lines_in_the_format_of_the_challenge_byte_for_byte(place, year):
    rows = place.rows(f"outputs-{year}")
    assert set(rows) == {f"B{k:04d}.csv" for k in range(6)}
    for name, text in rows.items():
        check_row(text, name.removesuffix(".csv"))


def check_row(text: str, recording: str) -> list[str]:
    """Checks an output file's text; returns the codes whose label is 1."""
    assert problem_of(text, recording) is None
    return [code for code, label in zip(OUTPUT_CODES, text.split("\n")[2].split(",")) if label == "1"]


def test_the_scripts_of_both_years_get_the_same_rows(place):
    assert place.rows("outputs-2020") == place.rows("outputs-2021")


def test_our_own_driver_gets_the_same_rows_as_theirs(place):
    copy_submission(ROOT, place.root.parent / "ours")
    place.run("../ours", "driver.py", "model-2021", "test", "../outputs-ours")
    ours, theirs = place.rows("../outputs-ours"), place.rows("outputs-2021")
    assert set(ours) == set(theirs)
    for name in ours:
        *head, our_scores, _ = ours[name].split("\n")
        *their_head, their_scores, _ = theirs[name].split("\n")
        assert head == their_head
        # ours scores recordings in batches, whose sums are added in another order
        np.testing.assert_allclose(
            [float(score) for score in our_scores.split(",")],
            [float(score) for score in their_scores.split(",")],
            atol=1e-5,
        )


@pytest.mark.parametrize("year", YEARS)
def test_a_recording_that_cannot_be_classified_costs_only_itself(place, year):
    """Each can be loaded by their scripts, which stop at a .mat that scipy cannot read, before we are asked."""
    folder = place.root.parent / f"broken-{year}"
    shutil.copytree(place.root / "test", folder)
    folder.chmod(0o755)
    noise = np.random.default_rng(0).normal(0, 200, (12, 5000)).round()
    write_mat(folder, "C0000", np.zeros((12, 5000)))
    write_mat(folder, "C0001", np.full((12, 5000), -32768))
    write_mat(folder, "C0002", np.full((12, 5000), np.nan), "<f8")
    write_mat(folder, "C0003", noise, leads=tuple(f"unknown{k}" for k in range(12)))
    write(folder, "C0004", "C0004 12 500 5000\n", matlab4(noise))  # a header that breaks off
    printed = place.run(year, RUN[year], f"model-{year}", f"../broken-{year}", f"../outputs-broken-{year}")
    rows = place.rows(f"../outputs-broken-{year}")
    broken = {name: rows.pop(name) for name in sorted(rows) if name.startswith("C")}
    assert rows == place.rows(f"outputs-{year}")
    assert "failed" not in printed and "5 recordings fell back" in printed
    assert len(broken) == 5
    for name, text in broken.items():
        assert check_row(text, name.removesuffix(".csv")) == [SINUS_RHYTHM]
        assert name.removesuffix(".csv") in printed


def test_the_2021_script_runs_recordings_of_12_6_4_3_and_2_leads(place):
    folder = place.root.parent / "leads"
    for k, leads in enumerate(LEAD_SETS):
        write_synthetic(folder, f"D{k:04d}", ["AF"], seed=7, leads=leads)
    printed = place.run("2021", "test_model.py", "model-2021", "../leads", "../outputs-leads")
    rows = place.rows("../outputs-leads")
    assert "failed" not in printed and "fell back" not in printed
    assert set(rows) == {f"D{k:04d}.csv" for k in range(len(LEAD_SETS))}
    for name, text in rows.items():
        check_row(text, name.removesuffix(".csv"))
    # all are the same recording: leads that are missing must have made a difference
    assert len({text.split("\n")[3] for text in rows.values()}) == len(LEAD_SETS)


@pytest.mark.parametrize("year", YEARS)
def test_their_outputs_are_scored(place, year):
    lines = place.run(year, "evaluate_model.py", "test", f"outputs-{year}").splitlines()
    names, values = lines[lines.index("Done.") + 1 :][:2]
    assert names == "AUROC,AUPRC,Accuracy,F-measure,Fbeta-measure,Gbeta-measure,Challenge metric"
    assert len(values.split(",")) == 7 and np.isfinite(float(values.split(",")[-1]))
