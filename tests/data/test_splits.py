"""Splits: nothing lost, patients together, classes shared out as well as the published package does it; the files."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit

from twelvelead.data.classes import DIAGNOSES, EQUIVALENT, NEVER_ANNOTATED, load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.groups import read_groups
from twelvelead.data.header import read_header
from twelvelead.data.sources import known_labels, source_of, states_rhythm
from twelvelead.data.splits import (
    mask_of_each_source,
    read_splits,
    stratified_folds,
    stratified_parts,
    write_splits,
)
from twelvelead.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"

quickly = settings(deadline=None, max_examples=60)


def random_labels(seed, count=None, classes=24):
    """Labels as in the Challenge: common and rare classes, some recordings with many."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(200, 1200)) if count is None else count
    return rng.random((count, classes)) < rng.uniform(0, 0.2, classes) * (0.3 + rng.random((count, 1)))


@st.composite
def labels_and_groups(draw):
    count = draw(st.integers(0, 40))
    labels = random_labels(draw(st.integers(0, 2**32)), count, draw(st.integers(0, 5)))
    return labels, draw(st.none() | st.lists(st.none() | st.integers(0, 12), min_size=count, max_size=count))


def groups_are_together(parts, groups):
    return all(len(set(parts[[other == group for other in groups]])) == 1 for group in groups if group is not None)


@quickly
@given(labels_and_groups(), st.integers(2, 6), st.integers(0, 2**32))
def test_no_fold_is_empty_and_groups_stay_together_or_there_are_too_few(case, count, seed):
    labels, groups = case
    units = len(labels) if groups is None else groups.count(None) + len(set(groups) - {None})
    if units < count:
        with pytest.raises(UserError, match=f"there are {units}; ask for fewer folds"):
            stratified_folds(labels, count, seed, groups)
        return
    fold = stratified_folds(labels, count, seed, groups)
    assert fold.shape == (len(labels),) and set(fold) == set(range(count))
    assert groups is None or groups_are_together(fold, groups)
    assert np.array_equal(fold, stratified_folds(labels, count, seed, groups))


@quickly
@given(labels_and_groups(), st.sampled_from([0.6, 0.8, 0.9]), st.integers(0, 2**32))
def test_parts_share_out_all_recordings_keep_groups_together_and_always_train(case, fraction, seed):
    labels, groups = case
    train, validation = stratified_parts(labels, fraction, seed, groups)
    assert np.array_equal(train, ~validation) and train.shape == (len(labels),)
    assert train.any() or len(labels) == 0
    assert groups is None or groups_are_together(train, groups)
    assert np.array_equal(train, stratified_parts(labels, fraction, seed, groups)[0])


def test_another_seed_draws_another_split():
    labels = random_labels(0)
    assert (stratified_parts(labels, 0.8, 1)[0] != stratified_parts(labels, 0.8, 2)[0]).mean() > 0.2
    assert (stratified_folds(labels, 5, 1) != stratified_folds(labels, 5, 2)).mean() > 0.6


def test_folds_share_out_classes_as_evenly_as_the_published_package():
    ours, oracle = [], []
    for seed in range(20):
        labels = random_labels(seed)
        theirs = np.empty(len(labels), dtype=int)
        splitter = MultilabelStratifiedKFold(5, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(labels, labels)):
            theirs[test] = number
        for fold, deviations in ((stratified_folds(labels, 5, seed), ours), (theirs, oracle)):
            deviation = np.abs([labels[fold == k].sum(axis=0) - labels.sum(axis=0) / 5 for k in range(5)])
            deviations.append((deviation.mean(), deviation.max(), np.ptp(np.bincount(fold))))
    mean, largest, sizes = np.mean(ours, axis=0) - np.mean(oracle, axis=0)
    assert mean < 0.05 and largest < 1 and sizes < 1  # recordings; over 300 seeds: -0.005, -0.05 and 0.003


def test_parts_share_out_classes_as_evenly_as_the_published_package():
    ours, oracle = [], []
    for seed in range(20):
        labels = random_labels(seed)
        splitter = MultilabelStratifiedShuffleSplit(1, train_size=0.8, test_size=0.2, random_state=seed)
        for rows, deviations in (
            (np.flatnonzero(stratified_parts(labels, 0.8, seed)[1]), ours),
            (next(splitter.split(labels, labels))[1], oracle),
        ):
            deviation = np.abs(labels[rows].sum(axis=0) - 0.2 * labels.sum(axis=0))
            deviations.append((deviation.mean(), deviation.max(), abs(len(rows) - 0.2 * len(labels))))
    mean, largest, size = np.mean(ours, axis=0) - np.mean(oracle, axis=0)
    assert mean < 0.05 and largest < 0.5 and size < 1  # recordings


def test_parts_of_patients_have_the_size_asked_for_and_every_class():
    labels = random_labels(5, 3000)
    patients = np.random.default_rng(5).geometric(1 / 1500, size=3000)  # up to a handful of recordings each
    _, validation = stratified_parts(labels, 0.8, 1, patients)
    assert abs(validation.sum() - 600) <= 2
    assert np.abs(labels[validation].sum(axis=0) - 0.2 * labels.sum(axis=0)).max() <= 3


@pytest.mark.parametrize(
    "labels, groups",
    [([[True]], None), ([[False]], None), ([[True, False]] * 8, ["p"] * 8)],
    ids=["one recording", "one recording without a label", "one patient"],
)
def test_what_cannot_be_divided_trains(labels, groups):
    assert stratified_parts(np.array(labels), 0.8, 0, groups)[0].all()


@pytest.mark.parametrize("seed", range(5))
def test_the_only_recording_of_a_class_trains_and_the_rarest_class_is_spread_evenly(seed):
    labels = random_labels(seed)
    labels[:, 0] = np.arange(len(labels)) == 7
    assert stratified_parts(labels, 0.8, seed)[0][7]
    labels[:, 0] = np.arange(len(labels)) % (len(labels) // 7) == 0  # seven or eight recordings
    labels[:, 1:] &= labels[:, 1:].sum(axis=0) > 20
    assert np.ptp(np.bincount(stratified_folds(labels, 5, seed)[labels[:, 0]], minlength=5)) == 1


@pytest.mark.parametrize("fraction", [0.2, 0.5, 1.0, 80])
def test_a_share_of_training_recordings_out_of_range_is_refused(fraction):
    with pytest.raises(UserError, match=r"above 0.5 and below 1"):
        stratified_parts(random_labels(0), fraction, 0)


def test_one_fold_and_groups_of_another_length_are_refused():
    with pytest.raises(UserError, match="at least 2 folds"):
        stratified_folds(random_labels(0), 1, 0)
    with pytest.raises(ValueError, match="2 groups for 3 recordings"):
        stratified_folds(random_labels(0, 3), 2, 0, ["a", "b"])


@pytest.mark.parametrize(
    "recording, source",
    [
        ("data/ptb-xl/g1/HR00001.hea", "ptb-xl"),
        ("data/north/A0001.hea", "north"),
        ("data/A0001.hea", "A"),
        ("data/g12/HR00001.hea", "HR"),
        ("data/Q0001", "Q"),
        ("data/JS00001.mat", "JS"),
        ("data/00001_hr.hea", "unknown"),
        ("elsewhere/north/E00001.hea", "E"),
        ("data/training/georgia/g3/E00001.hea", "georgia"),
        ("data/a/b/X1.hea", "a"),
    ],
)
def test_the_source_is_the_folder_or_the_letters_of_the_name(recording, source):
    assert source_of(recording, "data") == source


def test_each_source_is_left_out_once():
    tests = mask_of_each_source(["b", "a", "c", "a"])
    assert {name: test.tolist() for name, test in tests.items()} == {
        "a": [False, True, False, True],
        "b": [True, False, False, False],
        "c": [False, False, True, False],
    }
    for sources in (["a", "a"], []):
        with pytest.raises(UserError, match="at least 2 sources"):
            mask_of_each_source(sources)


# ------------------------------------------------------------------------------------------- what a source annotates

AF, BRADY, IAVB, NSR = "164889003", "426627000", "270492004", "426783006"


def test_never_annotated_classes_are_those_of_the_organizers_tables():
    """Both years' tables of scored diagnoses, codes that mean the same counted together."""
    if not REFERENCE.is_dir():
        pytest.skip(f"needs {REFERENCE}")
    columns = {
        "CPSC": "cpsc_2018 A",
        "CPSC-Extra": "cpsc_2018_extra Q",
        "StPetersburg": "st_petersburg_incart I",
        "PTB": "ptb S",
        "PTB-XL": "ptb-xl HR",
        "Georgia": "georgia E",
        "Chapman-Shaoxing": "chapman_shaoxing",
        "Ningbo": "ningbo",
    }
    counts = {source: dict.fromkeys({EQUIVALENT.get(code, code) for code in DIAGNOSES}, 0) for source in columns}
    for year in ("2020", "2021"):
        with open(REFERENCE / f"dx_mapping_scored-{year}.csv", newline="") as file:
            for row in csv.DictReader(file):
                codes = (row.get("SNOMED CT Code") or row["SNOMEDCTCode"]).split("|")
                for source in columns:
                    count = row.get(source) or row.get(source.replace("-", "_")) or 0
                    counts[source][EQUIVALENT.get(codes[0], codes[0])] += int(count)
    assert set(" ".join(columns.values()).split()) == set(NEVER_ANNOTATED)
    for source, names in columns.items():
        never = {code for code, count in counts[source].items() if count == 0}
        for name in names.split():
            assert NEVER_ANNOTATED[name] == never, name


def test_no_real_recording_has_a_diagnosis_that_its_source_never_annotates(real_data):
    for path in find_recordings(real_data):
        source = source_of(path, real_data)
        own = {EQUIVALENT.get(code, code) for code in read_header(str(path)).codes}
        assert not own & NEVER_ANNOTATED.get(source, set()), path


def test_of_the_challenges_sources_it_is_known_what_they_never_annotate():
    codes = (AF, BRADY, IAVB, NSR)
    sources = ["ptb-xl"] * 3 + ["HR"] * 2 + ["ningbo"] * 2 + ["elsewhere"]
    labels = np.zeros((8, 4), bool)
    labels[[0, 7], [0, 1]] = True  # fibrillation here, bradycardia elsewhere
    known = known_labels(labels, sources, codes)
    assert known[:5].tolist() == [[True, False, True, True]] * 5  # of PTB-XL, under both names
    assert known[5:7].tolist() == [[False, True, True, True]] * 2 and known[7].all()


def test_no_of_a_class_that_a_source_hardly_writes_is_unknown_and_yes_is_known():
    sources = ["a"] * 1000 + ["b"] * 200
    labels = np.zeros((1200, 2), bool)
    labels[:500] = True  # so b should have both in 100 of its recordings
    labels[1000:1009, 0] = labels[1000:1010, 1] = True  # 9 are less than a tenth of that, 10 are not
    known = known_labels(labels, sources, (AF, BRADY), rare=True)
    assert known[:1000].all() and known[1000:, 1].all()
    assert known[1000:, 0].tolist() == labels[1000:, 0].tolist()
    assert known_labels(labels, sources, (AF, BRADY)).all()


def test_a_rhythm_is_stated_by_scored_and_unscored_codes_but_not_by_extra_beats():
    atrial_tachycardia, ectopic_beats = "713422000", "164884008"
    codes = [(), (NSR,), (IAVB,), (AF, IAVB), (atrial_tachycardia,), (ectopic_beats,), ("no code",)]
    assert states_rhythm(codes).tolist() == [False, True, False, True, True, False, False]


def test_headers_overrule_the_table_of_never_annotated_classes():
    sources = ["ptb-xl"] * 4 + ["A"] * 4
    labels = np.zeros((8, 4), bool)
    assert known_labels(labels, sources, (AF, BRADY, IAVB, NSR)).all()  # nobody has bradycardia
    labels[5, 1] = True
    assert not known_labels(labels, sources, (AF, BRADY, IAVB, NSR))[:4, 1].any()
    labels[2, 1] = True  # this PTB-XL does annotate it
    assert known_labels(labels, sources, (AF, BRADY, IAVB, NSR)).all()


@pytest.mark.parametrize(
    "share, own, masked", [(0.1, 50, True), (0.1, 49, False), (0.01, 499, False), (0.01, 500, True), (0.0, 5000, False)]
)
def test_an_unlisted_source_annotates_no_class_of_which_it_lacks_five(share, own, masked):
    labels = np.zeros((1000 + own, 2), bool)
    labels[: round(1000 * share), 0] = labels[::2, 1] = True
    sources = ["north"] * 1000 + ["south"] * own
    known = known_labels(labels, sources, (IAVB, NSR))
    assert known[:, 1].all() and known[:1000].all()
    assert known[1000:, 0].any() != masked and known[1000:, 0].all() != masked
    labels[1000, 0] = True
    assert known_labels(labels, sources, (IAVB, NSR)).all()


@quickly
@given(st.integers(0, 2**32))
def test_a_positive_label_is_always_known_and_one_source_knows_everything(seed):
    rng = np.random.default_rng(seed)
    classes = scored_classes(load_weights(ROOT / "weights.csv"))
    labels = random_labels(seed, 300)
    names = np.array(["A", "ptb-xl", "S", "north", "south"])
    sources = rng.choice(names, 300)
    for source in names:
        labels[np.ix_(sources == source, rng.random(24) < 0.3)] = False
    known = known_labels(labels, sources, classes.codes)
    assert known[labels].all() and known.shape == labels.shape
    for source in names:  # what is known is the same for all recordings of a source
        assert len(np.unique(known[sources == source], axis=0)) == 1
    assert known_labels(labels, ["A"] * 300, classes.codes).all()


# ------------------------------------------------------------------------------------------------------------- files


def test_groups_are_read_from_any_two_columns_and_blanks_are_none(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffrecording, patient\r\nA1, 7\r\nA2,\r\n\r\nA3,7\r\nA1,7\r\n", encoding="utf-8")
    assert read_groups(path) == {"A1": "7", "A3": "7"}
    path.write_text('site,name,"test, set"\nx,A1,one\ny,A2,two\n')
    assert read_groups(path, "test, set", recording_column="name") == {"A1": "one", "A2": "two"}


@pytest.mark.parametrize("header", [True, False])
def test_what_tables_add_to_groups_and_names_makes_no_other_patient(tmp_path, header):
    path = tmp_path / "patients.csv"
    path.write_text("recording,patient\nA1.hea,17.0\nA2,17\nA3,NaN\nA4,nan\nA5,None\nA6,1.5\n")
    groups = read_groups(path, header=header)
    groups.pop("recording", None)
    assert groups == {"A1": "17", "A2": "17", "A6": "1.5"}


@pytest.mark.parametrize(
    "text, column, fault",
    [
        ("", None, "it has: nothing"),
        ("name,patient\nA1,1\n", None, "'recording' and one other column, or name one; it has: name, patient"),
        ("recording,patient,site\nA1,1,x\n", None, "or name one"),
        ("recording,patient\nA1,1\n", "person", "'recording' and 'person'; it has: recording, patient"),
        ("recording,patient\nA1,1\n", "recording", "must have"),
        ("recording,patient\nA1\n", None, "a row has 1 cells, the header 2: A1"),
        ("recording,patient\nA1,1\nA1,2\n", None, "recording A1 is in two groups, 1 and 2"),
        ("recording,patient\nA1,\xff\n", None, "cannot be read"),
    ],
)
def test_a_bad_groups_file_is_an_error_that_names_it(tmp_path, text, column, fault):
    path = tmp_path / "groups.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_groups(path, column)
    assert str(error.value).startswith(str(path)) and fault in str(error.value) and "\n" not in str(error.value)


def test_a_missing_groups_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.csv"):
        read_groups(tmp_path / "nowhere.csv")


def test_the_patients_of_real_recordings_are_read(real_data):
    groups = read_groups(real_data / "recordings.csv", "ptbxl_patient_id")
    assert groups and all(name.startswith("HR") and group.isdecimal() for name, group in groups.items())


def test_splits_are_read_as_written_and_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "splits.json"
    first = {"member_00": {"train": ["A1", "é/A2"], "validation": []}, "member_01": {"train": [], "validation": ["A3"]}}
    write_splits(path, first)
    assert read_splits(path) == first and [file.name for file in tmp_path.iterdir()] == ["splits.json"]

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"splits.json: the splits cannot be written .no space left"):
        write_splits(path, {})
    assert read_splits(path) == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": []}', '{"a": {"train": "A1"}}', '{"a": {"train": [1]}}'])
def test_a_broken_splits_file_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"splits.json.*to draw them anew"):
        read_splits(path)


@pytest.mark.parametrize("parts", [{"train": ["A1"], "test": ["A2", "A1"]}, {"train": ["A1", "A1"]}])
def test_a_split_that_leaks_is_neither_written_nor_read(tmp_path, parts):
    path = tmp_path / "splits.json"
    with pytest.raises(UserError, match="fold_0 has recording A1 in train"):
        write_splits(path, {"fold_0": parts})
    assert not path.exists()
    path.write_text(json.dumps({"fold_0": parts}))
    with pytest.raises(UserError, match="fold_0 has recording A1 in train"):
        read_splits(path)
