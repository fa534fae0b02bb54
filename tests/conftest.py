"""Fixtures shared by all tests. Tests on real recordings and golden cases skip with one line if those are absent."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
OWN_NAMES = ['LVH, "strain"', "µ|#1", "AF"]  # the classes of `own_model`: names that files must escape


def pytest_configure():
    """Sets what every process of a test inherits.

    The default recipe makes thousands of synthetic recordings, which tests that train do not need; those that do need
    some say how many. A shell starts background jobs with Ctrl-C ignored, which is undone.
    """
    os.environ.setdefault("TWELVELEAD_SYNTHETIC", "0")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _unpacked(folder: str, what: str) -> Path:
    """data/<folder>, unpacked from ../shared on first use. The test is skipped if both are absent."""
    path = ROOT / "data" / folder
    if not path.is_dir():
        if not (SHARED / "unpack").is_file():
            pytest.skip(f"needs {path} or ../shared/unpack")
        # Unpacked into another folder that is then renamed: an interrupted unpacking is not taken for a complete one.
        part = ROOT / "data" / f"{folder}.part"
        subprocess.run(["bash", str(SHARED / "unpack"), str(part), what], check=True)
        (part / folder).rename(path)
        subprocess.run(["rm", "-r", str(part)], check=True)
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings in Challenge format, with one subfolder for each source, and recordings.csv."""
    return _unpacked("challenge", "all")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with the evaluator's golden cases."""
    return _unpacked("evaluator", "golden")


@pytest.fixture(scope="session")
def hospital(tmp_path_factory) -> Path:
    """A data folder of 48 synthetic recordings of two hospitals. Copy before changing anything."""
    from twelvelead.synthetic import HOSPITALS, write_hospital

    folder = tmp_path_factory.mktemp("hospital")
    for name in list(HOSPITALS)[:2]:
        write_hospital(folder / name, name, 24, seed=1)
    return folder


@pytest.fixture(scope="session")
def tiny_settings():
    """Two small members of two epochs."""
    from twelvelead.settings import Settings

    return Settings(members=2, epochs=2, width=4, synthetic=0, seed=5, device="cpu", jobs=1, workers=1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, hospital, tiny_settings) -> Path:
    """A model folder trained on `hospital`. Copy before changing anything."""
    from twelvelead.commands import train

    folder = tmp_path_factory.mktemp("tiny") / "model"
    train(hospital, folder, tiny_settings)
    return folder


@pytest.fixture(scope="session")
def labels_csv(tmp_path_factory, hospital) -> Path:
    """Labels of `hospital`: odd names, a column with unknown cells, one recording that is unknown altogether."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rng = np.random.default_rng(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", *OWN_NAMES])
        for k, header in enumerate(sorted(hospital.rglob("*.hea"))):
            name = header.relative_to(hospital).with_suffix("").as_posix()
            cells = ("", "", "") if k == 7 else (int(k % 3 == 0), rng.choice(["0", "1", ""]), k % 2)
            writer.writerow([name, *cells])
    return path


@pytest.fixture(scope="session")
def own_settings(tiny_settings, labels_csv):
    """As `tiny_settings`, for the labels of `labels_csv`."""
    return dataclasses.replace(tiny_settings, labels=str(labels_csv), metric="f1")


@pytest.fixture(scope="session")
def own_model(tmp_path_factory, hospital, own_settings) -> Path:
    """A model folder that learned `labels_csv` on `hospital`. Copy before changing anything."""
    from twelvelead.commands import train

    folder = tmp_path_factory.mktemp("own") / "model"
    train(hospital, folder, own_settings)
    return folder
