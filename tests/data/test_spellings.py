"""More spellings of a header's fields: read and noted where they mean one thing, refused or left alone otherwise.

The kinds are those of test_field_faults.py; these examples were found by trying 500 odd inputs.
"""

from __future__ import annotations

import made
import numpy as np
import pytest

from twelvelead.data.comments import read_comments
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import parse_header
from twelvelead.data.leads import LEADS, lead_names
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.errors import RecordingError

AF, NSR = "164889003", "426783006"


@pytest.mark.parametrize(
    "written",
    ["0.5k", "0.5 kHz", "0.5ksps", "500S/s", "500Sa/s", "500(Hz)", "500 1/s", "500 s^-1", "500 samples per second"],
)
def test_units_of_frequency_are_read_and_the_samples_after_them_too(written):
    header = parse_header(made.header(record_line=f"A0001 12 {written} 5000"))
    assert (header.frequency_hz, header.n_samples, len(header.notes)) == (500, 5000, 1)


@pytest.mark.parametrize("written", ["500mHz", "0.5MHz", "2ms", "500bpm", "500Hz500", "Fs=500", "500/", "50O"])
def test_other_units_of_frequency_are_refused(written):
    with pytest.raises(RecordingError, match="sampling frequency"):
        parse_header(made.header(record_line=f"A0001 12 {written} 5000"))


# Gains


@pytest.mark.parametrize(
    "written",
    [
        *("4.88 nV", "4.88 uV", "1000 mV", "1000(0)mV", "1000(0) mV", "1 mV/1000", "1mV/1000adu"),  # two meanings
        *("1 000/mV", "1000 1/mV"),  # the first number is no gain
        *("1000(", "1000()", "1000( 0 )/mV", "1000 ( 0 ) / mV", "200 /(mV)", "'1000/mV'", "1000perMV", "1_000/mV"),
        *("1000/mV2", "1000/mV/10", "1000/mV/cm", "1000/10mm/mV", "1000/uv/bit", "1000/xV", "1000/m", "1000/milli"),
        *("inf", "nan", "-", "mV"),
    ],
)
def test_a_gain_is_never_replaced_by_a_default_because_of_its_spelling(written):
    with pytest.raises(RecordingError, match="gain"):
        parse_header(made.header(gain=written), "A0001")


@pytest.mark.parametrize(
    "unit, in_one_mv",
    [("kV", 1e-6), ("pV", 1e9), ("мВ", 1), ("мкВ", 1e3), ("mkV", 1e3), ("[mV]", 1), ("mV,", 1), ("(uV)", 1e3)],
)
def test_voltages_in_other_letters_are_voltages(unit, in_one_mv):
    header = parse_header(made.header(leads=("II", "V1"), gain=f"2/{unit}"))
    assert header.gains_per_mv == pytest.approx((2 * in_one_mv,) * 2) and header.leads == ("II", "V1")


def test_a_lead_that_begins_with_a_v_is_no_unit():
    for line, lead in (("200 V 1", "V1"), ("200 V1", "V1"), ("200/mV V 1", "V1"), ("200 16 0 0 0 0 V 1", "V1")):
        (signal,) = parse_header(f"A 1 500 10\nA.mat 16+24 {line}\n").signals
        assert (signal.lead, signal.gain_per_mv) == (lead, 200), line


def test_the_bits_of_a_sample_are_not_taken_for_a_missing_gain():
    with pytest.raises(RecordingError, match="16 may be a gain or, without a gain, the bits"):
        parse_header("A 1 500 10\nA.mat 16+24 16 0 -119 1716 0 I\n")
    assert parse_header("A 1 500 10\nA.mat 16+24 16 16 0 -119 1716 0 I\n").gains_per_mv == (16,)


def test_a_comment_without_its_mark_is_no_signal():
    for line in ("%Age: 74", "; Age: 74"):
        assert parse_header(made.header(comments=[line])).leads == LEADS


# Names of leads


@pytest.mark.parametrize(
    "written, name",
    [(f"{word} aVF", "aVF") for word in ("svod", "Derivasyon", "Elvezetés", "απαγωγή", "відведення", "Abltg.", "Extr.")]
    + [("胸导联V1", "V1"), ("リードII", "II"), ("유도 I", "I"), ("“II”", "II"), ("(1) I", "I"), ("[0] V3", "V3")]
    + [("V1 (C1)", "V1"), ("C2/V2", "V2"), ("V1_filtered", "V1"), ("V5 mcV", "V5")],
)
def test_leads_in_more_languages_and_notations(written, name):
    (lead,) = lead_names((written,))
    assert (lead.name, lead.known, lead.repaired) == (name, True, True)


@pytest.mark.parametrize("written", ["V1 (C2)", "C1/V2", "not II", "II off", "aVR (Cabrera)", "I-", "[12] ", "V1R"])
def test_names_that_contradict_themselves_stay_unknown(written):
    assert not lead_names((written,))[0].known


# Comments


@pytest.mark.parametrize(
    "comment, age",
    [
        *((f"#Age{unit}: 6", 0.5) for unit in (" (months)", " in months", "_months", " [months]", ", months")),
        *((f"#Age{unit}: 50", 50) for unit in ("(y)", " [years]", "_years", ", years", " at recording", " of patient")),
        *((f"#{key}: 50", 50) for key in ("PatientAge", "Patient's age", "Возраст", "年龄", "Yaş", "Wiek", "Ålder")),
        *((text, 50) for text in ("#Age：50", "#Age; 50", "#Age: '50'", "#Age/Sex: 50/M", "# 50M", "# 50 male")),
        *((f"#Age: {value}", 50) for value in ("50 лет", "50岁", "50 (years)")),
        ("#Age at onset: 50", None),
        ("#Image: 50", None),
    ],
)
def test_ages_under_other_keys_and_in_their_units(comment, age):
    years = read_comments([comment], []).age_years
    assert years == pytest.approx(np.nan if age is None else age, nan_ok=True)


@pytest.mark.parametrize(
    "comment",
    ["#Пол: Ж", "#性别: 女", "#Sukupuoli: nainen", "#Sex (M/F): F", "#PatientSex: F", "#Biological sex: F", "#Sex: ♀"]
    + ["#Sex at birth: F", "#Sex/Age: F/50", "#Sex: F;", "#Cinsiyet: kadın"],
)
def test_sexes_under_other_keys(comment):
    assert read_comments([comment], []).sex == "female"


@pytest.mark.parametrize(
    "comment",
    [
        f"#Diagnosis: {AF}",
        f"#Labels: {AF}",
        f"#Dx (SNOMED): {AF}",
        f"#Dx [SNOMED-CT]: {AF}",
        f"#Dx1: {AF}",
        f"#Dx; {AF}",
    ]
    + [f"#Dx：{AF}", f"#SNOMED-CT codes: {AF}", "#Diagnosis: atrial fibrillation, "],
)
def test_diagnoses_under_other_keys(comment):
    assert read_comments([comment], []).codes == (AF,)


@pytest.mark.parametrize("comment", ["#Diagnosis: heart failure", "# Label maker: 12", "#Codes: none", "#Diagnose:"])
def test_free_texts_are_no_diagnoses(comment):
    assert read_comments([comment], []).codes == ()


@pytest.mark.parametrize("sign", ["-", ".", "_", ":", "\\", " · ", "，", "；", "、", " und ", ")("])
def test_more_separators_of_codes(sign):
    facts = read_comments([f"#Dx: {NSR}{sign}{AF}"], notes := [])
    assert facts.codes == ((NSR, AF) if sign != "_" else (f"{NSR}_{AF}",)) and len(notes) == (sign != "_")


@pytest.mark.parametrize(
    "text",
    [f"{AF} absent", f"{AF} negative", f"!{AF}", f"~{AF}", f"-{AF}", f"{AF} (probable)", f"{AF} resolved"]
    + [f"history of {AF}", f"{AF}: 0", f"{AF}=0", "AF: 0", "AF 0", f"'{AF}': 0.0", f"{AF}: false", f"{AF}: no"],
)
def test_a_diagnosis_that_a_text_denies_or_doubts_is_not_read(text):
    codes = read_comments([f"#Dx: {NSR}, {text}"], []).codes
    assert codes == (NSR, text)


@pytest.mark.parametrize(
    "text", [f"{AF}: 1", f"{{'{AF}': 100.0}}", f"{AF}=1", "AF: 1", "AF:yes", "atrial_fibrillation"]
)
def test_a_diagnosis_with_a_value_or_other_blanks_is_read(text):
    assert read_comments([f"#Dx: {text}"], []).codes == (AF,)


# Signals


def test_rows_in_another_order_than_lines_are_told_by_their_first_samples():
    values = made.adc(12, 50)
    lines = made.header(n_samples=50, initial=[int(first) for first in values[:, 0]]).splitlines()
    for k, row in enumerate(values):
        fields = lines[k + 1].split()
        fields[6] = str(((int(row.sum()) + 32768) % 65536) - 32768)
        lines[k + 1] = " ".join(fields)
    right = recording_from(lines, values)
    assert right.notes == ()
    order = np.random.default_rng(1).permutation(12)
    again = recording_from(lines, values[order])
    np.testing.assert_array_equal(again.signal_mv, right.signal_mv)
    assert "not in the order of the header's lines" in again.notes[0]
    changed = values.copy()
    changed[3, 7] += 1  # one checksum fits no row: nothing is proven
    np.testing.assert_array_equal(recording_from(lines, changed[order]).signal_mv, np.float32(changed[order] / 1000))


def test_masked_samples_are_missing():
    values = np.ma.masked_less(made.adc(12, 50), 0)
    recording = recording_from(made.header(n_samples=50), values)
    np.testing.assert_array_equal(np.isnan(recording.signal_mv), np.ma.getmaskarray(values))


def test_a_column_is_not_cut_into_leads():
    with pytest.raises(RecordingError, match="cannot be known"):
        recording_from(made.header(n_samples=500), made.adc(12, 500).reshape(-1, 1))


def test_bytes_in_the_other_order_are_told_by_the_first_samples(tmp_path):
    values = made.adc(12, 50)
    initial = [int(first) for first in values[:, 0]]
    for said, stored in (("16", "61"), ("61", "16")):
        text = made.header(n_samples=50, storage=said, extension=".dat", initial=initial)
        recording = read_recording(made.write(tmp_path, "A0001", text, made.encoded(values, stored), ".dat"))
        np.testing.assert_array_equal(recording.signal_mv, np.float32(values / 1000))
        assert "other order of bytes" in recording.notes[0]


def test_a_format_that_cannot_be_right_is_told(tmp_path):
    values = made.adc(12, 50)
    text = made.header(n_samples=50, storage="160", extension=".dat", initial=[int(first) for first in values[:, 0]])
    path = made.write(tmp_path, "A0001", text, made.encoded(values, "16"), ".dat")
    assert "none of the first samples" in read_recording(path).notes[0]
    path = made.write(tmp_path, "A0001", text, made.encoded(values, "160"), ".dat")
    assert read_recording(path).notes == ()


def test_a_signal_file_that_is_a_text_is_refused(tmp_path):
    text = "\n".join(",".join(map(str, row)) for row in made.adc(12, 500).T)
    path = made.write(tmp_path, "A0001", made.header(storage="16", extension=".csv"), text.encode(), ".csv")
    with pytest.raises(RecordingError, match="is a text"):
        read_recording(path)


def test_a_matlab_file_under_another_extension_is_one(tmp_path):
    path = made.write(tmp_path, "A0001", made.header(storage="16", extension=".dat"), made.matlab4(made.adc()), ".dat")
    recording = read_recording(path)
    np.testing.assert_array_equal(recording.signal_mv, np.float32(made.adc() / 1000))
    assert "MATLAB file" in recording.notes[0]


def test_the_signal_file_of_another_recording_is_told(tmp_path):
    made.write_mat(tmp_path, "A2", made.adc(12, 500, seed=2))
    path = made.write(tmp_path, "A1", made.header("A1").replace("A1.mat", "A2.mat"), None)
    assert "of another recording" in read_recording(path).notes[0]


def test_headers_of_segments_in_upper_case_or_named_as_files_are_found(tmp_path):
    made.write_dat(tmp_path, "s1", made.adc(2, 30), "16", leads=("II", "V5"))
    made.write_dat(tmp_path, "s2", made.adc(2, 20), "16", leads=("II", "V5"))
    (tmp_path / "s1.hea").rename(tmp_path / "s1.HEA")
    path = made.write(tmp_path, "A", "A/2 2 500 50\ns1 30\ns2.hea 20\n", None)
    assert find_recordings(tmp_path) == [path]
    recording = read_recording(path)
    assert recording.signal_mv.shape == (2, 50) and not np.isnan(recording.signal_mv).any()
