"""Headers and files as they come from the field: what can mean one thing only is read and noted, the rest is refused.

Each test stands for a kind of fault. The right values are written here by hand, after the definitions of WFDB, of the
organizers and of the file formats.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import made
import numpy as np
import pytest
import scipy.io
import wfdb

from twelvelead.data.classes import DIAGNOSES
from twelvelead.data.comments import read_comments
from twelvelead.data.folders import find_recordings, orphan_signals
from twelvelead.data.header import parse_header, split_lines
from twelvelead.data.header_fields import parse_gain
from twelvelead.data.leads import LEADS, LIMB_FROM_I_II, lead_names
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.data.still import STILL_S
from twelvelead.errors import RecordingError, printable
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import Input

# Names of leads

SPELLINGS = {
    "I": "Abl. I|Abl.I|Ableitung I|Lead I|LEAD_I|ECG I|EKG I|I (mV)|I [mV]|I, mV|DI|D I|D1|MDC_ECG_LEAD_I|SCPECG:I",
    "II": "Lead II|ecg_II|DII|Derivación DII|Dérivation II|II # ok|Ⅱ|II_raw|LeadII|channel 2: II",
    "III": "1: III|LIII|第III誘導|导联III|III;|DIII|D3|ECG III|Standard lead III",
    "aVR": "a VR|aV R|MDC_ECG_LEAD_aVR|ECG-aVR|AVR (uV)|Abl. aVR",
    "aVL": "LEAD_aVL|aVL, mV",
    "aVF": "ekg_avf|aVF [uV]",
    "V1": "C1|V01|V 1|V-1|V_1|v1-uv|V1 # ok|V1,|V1 (µV)|ECG V1|ecgv1|MDC_ECG_LEAD_V1|SCPECG:V1|Brustwand V1|V1 in mV",
    "V6": "C6|c6|V06|dér. V6|lead V6 ",
}


@pytest.mark.parametrize("name, written", [(name, w) for name, all_ in SPELLINGS.items() for w in all_.split("|")])
def test_lead_names_in_use_are_understood_and_noted(name, written):
    header = parse_header(made.header(leads=(written,)))
    assert header.leads == (name,) and len(header.notes) == 1 and header.gains_per_mv == (1000,)


NO_LEADS = ["MLII", "V7", "V3R", "CM5", "-I", "-V1", "I-II", "V1-V2", "V1/V2", "I II", "ECG", "resp", "1", "Lead 1"]
NO_LEADS += ["VR", "V10", "V0", "C7", "X", "II modified", "I+II", "AVR-", "mV", "IIII"]


@pytest.mark.parametrize("written", NO_LEADS)
def test_a_name_that_means_no_lead_or_two_stays_unknown(written):
    (lead,) = lead_names((written,))
    assert not lead.known and lead.name == written


@pytest.mark.parametrize("written", ["-aVR", "−aVR", "Lead -aVR", "aVR inverted", "neg. aVR"])
def test_the_inverted_lead_of_cabreras_order_is_turned_over(written):
    values = made.adc(1, 50)
    recording = recording_from(made.header(leads=(written,), n_samples=50), values)
    assert recording.leads == ("aVR",) and "turned over" in recording.notes[0]
    np.testing.assert_array_equal(recording.signal_mv, np.float32(values / -1000))


def test_c_names_are_chest_leads_unless_others_are_channels_or_of_the_head():
    chest = lead_names((*LEADS[:6], *(f"C{k}" for k in range(1, 7))))
    assert tuple(lead.name for lead in chest) == LEADS
    for names in [("C3", "C4", "O1", "ECG"), tuple(f"C{k}" for k in range(1, 13)), ("C1", "V1"), ("C4", "EOG left")]:
        assert not any(lead.known for lead, name in zip(lead_names(names), names) if name.startswith("C"))


def test_if_no_known_lead_is_left_the_message_names_what_there_is():
    recording = recording_from(made.header(leads=("Resp", "ABP"), n_samples=50), made.adc(2, 50))
    with pytest.raises(RecordingError, match="'Resp', 'ABP'"):
        prepare(recording, Input())


def test_of_two_rows_of_one_name_the_one_that_holds_a_signal_is_taken(tmp_path):
    values = made.adc(3, 50)
    values[0] = 7
    recording = recording_from(made.header(leads=("II", "II", "V1"), n_samples=50), values)
    np.testing.assert_array_equal(recording.signal_mv, np.float32(values[1:] / 1000))
    values[0] = -(2**15)
    recording = recording_from(made.header(leads=("C1", "V1", "V2"), n_samples=50), values)
    assert recording.leads == ("V1", "V2", "C1")  # unknown beside V1
    recording = recording_from(made.header(leads=("II", "Lead II", "V1"), n_samples=50), values)
    np.testing.assert_array_equal(recording.signal_mv, np.float32(values[1:] / 1000))
    assert any("first that holds a signal" in note for note in recording.notes)


def test_limb_leads_follow_einthoven_and_goldberger():
    right, left, foot = np.random.default_rng(0).normal(size=(3, 20))  # potentials of the limbs
    central = (right + left + foot) / 3
    one, two = left - right, foot - right
    leads = [one, two, foot - left, *(1.5 * (limb - central) for limb in (right, left, foot))]
    np.testing.assert_allclose(LIMB_FROM_I_II @ np.stack([one, two]), leads, atol=1e-12)


# Gains


@pytest.mark.parametrize(
    "written, per_mv",
    [
        ("1000,0/mV", 1000),
        ("1000 /mV", 1000),
        ("1000 / mV", 1000),
        ("1000/ mV", 1000),
        ("1000 (0)/mV", 1000),
        ("1000adu/mV", 1000),
        ("1000 LSB/mV", 1000),
        ("1 uV/bit", 1000),
        ("4.88uV/LSB", 1000 / 4.88),
        ("0.001 mV/ADU", 1000),
        ("1000/1mV", 1000),
        ("1.000,5/mV", 1000.5),
        ("1000/mV(0)", 1000),
    ],
)
def test_gains_in_other_spellings_are_read_and_noted(written, per_mv):
    header = parse_header(made.header(leads=("II", "V1"), gain=written))
    assert header.leads == ("II", "V1") and len(header.notes) == 1
    assert header.gains_per_mv == pytest.approx((per_mv, per_mv)) and header.baselines == (0, 0)


@pytest.mark.parametrize("unit, per_mv", [("microvolts", 1000), ("millivolt", 1), ("millivolts", 1), ("volt", 0.001)])
def test_units_written_out_are_units(unit, per_mv):
    assert parse_header(made.header(gain=f"1/{unit}")).gains_per_mv == pytest.approx((per_mv,) * 12)


@pytest.mark.parametrize(
    "written", ["1,000/mV", "nan/mV", "inf/mV", "1e400/mV", "abc/mV", "1000mV", "1000(3.5)/mV", "1000/0mV", "0 uV/bit"]
)
def test_a_gain_that_is_none_or_may_be_two_is_refused(written):
    with pytest.raises(RecordingError, match="A0001: "):
        parse_header(made.header(gain=written), "A0001")
    with pytest.raises(ValueError):
        parse_gain(f"{written} 16 0 0 0 0 I")


def test_a_missing_gain_is_wfdbs_default_and_noted():
    header = parse_header("A 1 500 10\nA.mat 16+24 V1\n")
    assert header.gains_per_mv == (200,) and "WFDB's default" in header.notes[0]


# Comments


@pytest.mark.parametrize(
    "comments, age, sex",
    [
        (["# 69 M 1085 1629 x1", "# Aldomet, Inderal"], 69, "male"),
        (["#<age>: 65 <sex>: F <diagnoses> Coronary artery disease"], 65, "female"),
        (["# <age>: 88  <sex>: F  <location>: micu"], 88, "female"),
        (["# Age: 62  Sex: M"], 62, "male"),
        (["#age: 62 sex: male  Underlying cardiac rhythm: AF"], 62, "male"),
        (["#Age 74", "#Gender: F"], 74, "female"),
        (["# Geschlecht: weiblich", "# Alter: 50"], 50, "female"),
        (["#Age (years): 50", "#Sexo: hombre"], 50, "male"),
        (["#Age: NaN", "#Age: 50"], 50, "unknown"),
        (["# Age of onset: 40", "# sex change: none"], None, "unknown"),
        (["# Diagnosis: sex: male"], None, "unknown"),
    ],
)
def test_comments_of_other_databases(comments, age, sex):
    facts = read_comments(comments, [])
    assert facts.age_years == pytest.approx(age if age else np.nan, nan_ok=True) and facts.sex == sex


AF, NSR = "164889003", "426783006"


@pytest.mark.parametrize(
    "text, codes",
    [
        (f"{NSR};{AF}", (NSR, AF)),
        (f"{NSR} {AF}", (NSR, AF)),
        (f"{NSR}|{AF}", (NSR, AF)),
        (f"{NSR}/{AF}", (NSR, AF)),
        (f"'{NSR}','{AF}'", (NSR, AF)),
        (f"[{NSR}, {AF}]", (NSR, AF)),
        (f"SNOMED:{NSR}", (NSR,)),
        (f"SNOMED-CT: {NSR}; SNOMED-CT: {AF}", (NSR, AF)),
        (f"{AF} (AF)", (AF,)),
        (f"AF ({AF})", (AF,)),
        (f"{AF} |Atrial fibrillation|, {NSR} |Sinus rhythm|", (AF, NSR)),
        (f"{AF}.0", (AF,)),
        ("1.64889003E+08", (AF,)),
        (f'["{NSR}", "{AF}"]', (NSR, AF)),
        ("NSR, AF", (NSR, AF)),
        ("nsr;af", (NSR, AF)),
        ("Normal, SB", (NSR, "426177001")),
        ("sinus rhythm", (NSR,)),
        ("1st degree AV block", ("270492004",)),
    ],
)
def test_diagnoses_in_other_spellings_are_read_and_noted(text, codes):
    header = parse_header(made.header(dx=text))
    assert header.codes == codes and len(header.notes) == 1 and "read as" in header.notes[0]


@pytest.mark.parametrize("text", [f"no {AF}", f"{AF}?", "fibrillation", "AF?", "without AF", "x y z", "1.64889E+08"])
def test_diagnoses_that_cannot_be_understood_stay_as_written(text):
    assert parse_header(made.header(dx=text)).codes == (text,)


def test_every_abbreviation_and_name_of_our_table_is_its_code():
    for code, (abbreviation, name) in DIAGNOSES.items():
        for text in (abbreviation, abbreviation.lower(), name):
            assert parse_header(made.header(dx=f"{text}, 1")).codes == (code, "1"), text


# Files


@pytest.mark.parametrize(
    "named, stored",
    [("rec", "rec.mat"), ("A1.mat", "A1.MAT"), ("A1.MAT", "A1.mat"), ("a1.mat", "A1.MAT"), ("x.mat", "A1.mat")],
)
def test_a_signal_file_with_another_extension_case_or_name_is_found_and_noted(tmp_path, named, stored):
    text = made.header("A1", record_line="A1 12 500 500").replace("A1.mat", named)
    (tmp_path / "A1.HEA").write_text(text)
    (tmp_path / stored).write_bytes(made.matlab4(made.adc()))
    assert find_recordings(tmp_path) == [tmp_path / "A1.HEA"]
    recording = read_recording(tmp_path / "A1.HEA")
    assert recording.name == "A1" and stored in recording.notes[-1]
    np.testing.assert_array_equal(recording.signal_mv, np.float32(made.adc() / 1000))


@pytest.mark.parametrize("name", ["A\0.mat", "A\x1b[31m.mat", "A\u2028.mat", "/etc/passwd", "..\\x.mat"])
def test_a_name_that_no_file_has_costs_nothing(tmp_path, name):
    text = made.header("A0001", record_line="A0001 12 500 500").replace("A0001.mat", name)
    path = made.write(tmp_path, "A0001", text, made.matlab4(made.adc()))
    recording = read_recording(path)
    assert recording.signal_mv.shape == (12, 500) and all(note.isprintable() for note in recording.notes)
    (tmp_path / "A0001.mat").unlink()
    with pytest.raises(RecordingError) as caught:
        read_recording(path)
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name == "nt", reason="names of files are texts on Windows")
@pytest.mark.parametrize("name", [b"A\xff1", b"A\n1", b"A 1", "Ä1".encode(), b"A" * 251])
def test_recordings_with_any_name_are_read(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    for end, data in ((b".hea", made.header("A0001").encode()), (b".mat", made.matlab4(made.adc()))):
        with open(path + end, "wb") as file:
            file.write(data)
    (found,) = find_recordings(tmp_path)
    recording = read_recording(found)
    assert recording.signal_mv.shape == (12, 500) and all(note.isprintable() for note in recording.notes)
    os.unlink(path + b".mat")
    with pytest.raises(RecordingError) as caught:
        read_recording(found)
    assert str(caught.value).isprintable()


def test_a_record_whose_name_holds_blanks(tmp_path):
    path = made.write_mat(tmp_path, "Patient 1", made.adc(12, 500))
    recording = read_recording(path)
    assert recording.frequency_hz == 500 and recording.leads == LEADS and recording.notes == ()
    assert recording_from(path.read_text(), made.adc()).frequency_hz == 500


def test_null_signals_among_the_leads_are_missing(tmp_path):
    values = made.adc(12, 50)
    lines = made.header(n_samples=50).splitlines()
    lines[3] = "~ 0 200 0 0 0 0 0 III"
    for rows in (np.delete(values, 2, axis=0), values):
        path = made.write(tmp_path, "A0001", "\n".join(lines), made.matlab4(rows))
        recording = read_recording(path)
        assert recording.leads == tuple(lead for lead in LEADS if lead != "III") and "III" in recording.notes[0]
        np.testing.assert_array_equal(recording.signal_mv, np.float32(np.delete(values, 2, axis=0) / 1000))
    dat = [line.replace(".mat 16+24", ".dat 16") for line in lines]
    path = made.write(tmp_path, "A0001", "\n".join(dat), made.encoded(np.delete(values, 2, axis=0), "16"), ".dat")
    np.testing.assert_array_equal(read_recording(path).signal_mv, np.float32(np.delete(values, 2, axis=0) / 1000))


def test_lines_end_as_in_wfdb_and_not_as_in_python(tmp_path):
    text = made.header(comments=["#Hx: a\x85b\x0bc\x0cd\x1ce\u2028f"])
    lines, comments = split_lines(text)
    assert len(lines) == 13 and len(comments) == 4
    assert all(line.isprintable() for line in lines + comments)
    for disguise in (text, text.replace("\n", "\r\n"), text.replace("\n", "\r")):
        assert parse_header(disguise).leads == LEADS


@pytest.mark.parametrize("dirt", ["\0", "\u200b", "\ufeff"])
def test_letters_that_nobody_sees_change_nothing(dirt):
    text = made.header()
    for dirty in (text.replace(" II\n", f" II{dirt}\n"), text + dirt, text.replace("59118001", f"59118001{dirt}")):
        assert parse_header(dirty) == parse_header(text)


@pytest.mark.parametrize("form", ["4", "5"])
def test_a_matlab_matrix_with_another_name_is_read_if_it_is_the_only_one(tmp_path, form):
    values = made.adc(12, 50).astype(np.int16)
    path = made.write(tmp_path, "A0001", made.header(n_samples=50), None)
    scipy.io.savemat(tmp_path / "A0001.mat", {"fs": 500.0, "ecg": values, "t": np.arange(50.0)}, format=form)
    recording = read_recording(path)
    assert "'ecg'" in recording.notes[0]
    np.testing.assert_array_equal(recording.signal_mv, np.float32(values / 1000))
    scipy.io.savemat(tmp_path / "A0001.mat", {"ecg": values, "filtered": values}, format=form)
    with pytest.raises(RecordingError, match=r"'ecg' 12×50, 'filtered' 12×50"):
        read_recording(path)
    scipy.io.savemat(tmp_path / "A0001.mat", {"other": values, "val": values}, format=form)
    assert read_recording(path).notes == ()


# Segments


def segmented(folder: Path) -> Path:
    made.write_dat(folder, "s1", made.adc(2, 30), "16", leads=("II", "V5"))
    made.write_dat(folder, "s2", made.adc(2, 20), "16", leads=("II", "V5"))
    made.write(folder, "A_layout", "A_layout 2 500 0\n~ 0 200 0 0 0 0 0 II\n~ 0 200 0 0 0 0 0 V5\n", None)
    return made.write(folder, "A", "A/3 2 500 50\nA_layout 0\ns1 30\ns2 20\n", None)


def test_segments_and_layouts_are_no_recordings_of_their_own(tmp_path):
    path = segmented(tmp_path)
    other = made.write_mat(tmp_path, "B", made.adc(2, 20), leads=("II", "V5"))
    assert find_recordings(tmp_path) == [path, other] and orphan_signals(tmp_path) == []
    record = wfdb.rdrecord(str(path)[:-4])
    np.testing.assert_array_equal(read_recording(path).signal_mv, np.float32(record.p_signal.T))


def test_missing_segments_are_gaps_and_noted(tmp_path):
    path = segmented(tmp_path)
    whole = read_recording(path).signal_mv
    path.write_text("A/4 2 500 50\nA_layout 0\ns1 30\ns2 20\n")
    recording = read_recording(path)
    np.testing.assert_array_equal(recording.signal_mv, whole)
    assert "announces 4 segments and names 3" in recording.notes[0]
    path.write_text("A/3 2 500 50\nA_layout 0\ns1 30\ns2 20\n")
    (tmp_path / "s2.hea").unlink()
    recording = read_recording(path)
    assert np.isnan(recording.signal_mv[:, 30:]).all() and "segment s2 is missing" in recording.notes[0]
    np.testing.assert_array_equal(recording.signal_mv[:, :30], whole[:, :30])


# Padding


@pytest.mark.parametrize("begin, end", [(0, 750), (4250, 5000), (1000, 2000), (4749, 5000), (0, 250)])
@pytest.mark.parametrize("level", [0, 123])
def test_a_stretch_without_any_change_is_missing(begin, end, level):
    values = made.adc(12, 5000, bits=12)
    values[:, begin:end] = level
    recording = recording_from(made.header(n_samples=5000), values)
    expected = np.zeros(5000, dtype=bool)
    expected[begin:end] = True
    np.testing.assert_array_equal(np.isnan(recording.signal_mv), np.broadcast_to(expected, (12, 5000)))
    assert "taken for missing" in recording.notes[0]
    prepared = prepare(recording, Input())
    assert not prepared.signal[:, ~prepared.valid].any()
    assert (~prepared.valid).mean() == pytest.approx((end - begin) / 5000, abs=0.001)


def test_a_lead_that_still_moves_or_a_shorter_stop_is_signal():
    values = made.adc(12, 5000, bits=12)
    values[:11, 1000:3000] = 0
    assert recording_from(made.header(n_samples=5000), values).notes == ()
    values = made.adc(12, 5000, bits=12)
    values[:, 1000 : 1000 + round(STILL_S * 500) - 1] = 0
    assert recording_from(made.header(n_samples=5000), values).notes == ()
    values = np.vstack([made.adc(2, 5000, bits=12), np.arange(5000)[None]])  # a signal that is no lead does not count
    values[:2, :1000] = 5
    recording = recording_from(made.header(leads=("I", "V1", "clock"), n_samples=5000), values)
    assert np.isnan(recording.signal_mv[:, :1000]).all() and not np.isnan(recording.signal_mv[:, 1000:]).any()


# WFDB formats without any other file


@pytest.mark.skipif(os.name == "nt", reason="permissions")
@pytest.mark.slow
@pytest.mark.parametrize("form", ["212", "516"])
def test_formats_are_decoded_in_a_read_only_container(tmp_path, form):
    millivolts = np.random.default_rng(1).normal(size=(300, 2))
    wfdb.wrsamp(
        "r",
        fs=500,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        p_signal=millivolts,
        fmt=[form] * 2,
        write_dir=str(tmp_path),
    )
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    code = (
        "import os, sys, tempfile; tempfile.gettempdir = os.symlink = None; sys.modules['wfdb'] = None; "
        "from twelvelead.data.recording import read_recording; print(read_recording(sys.argv[1]).signal_mv.shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "r.hea")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    tmp_path.chmod(stat.S_IRWXU)
    assert done.stdout.strip() == "(2, 300)", done.stderr


def test_printable_texts_command_no_terminal():
    text = "a\x1b[31mb\x00\x85\u202e\u2028\udcffÄ\u00a0½ ✓\n"
    shown = printable(text)
    assert "Ä\u00a0½ ✓" in shown and printable(shown) == shown
    assert all(letter.isprintable() or letter == "\u00a0" for letter in shown)
    shown.encode()


@pytest.mark.parametrize("frequency", ["1e999", "1,5e999", "9" * 400])
def test_a_number_too_large_to_be_one_is_named(tmp_path, frequency):
    path = made.write_mat(tmp_path, "A0001", made.adc(12, 100), frequency=frequency)
    with pytest.raises(RecordingError, match="is larger than any number here"):
        read_recording(path)
