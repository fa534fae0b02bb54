"""The text of a header: record lines, signal lines, comments, and what is no header."""

from __future__ import annotations

import math

import made
import pytest

from twelvelead.data.header import LEADS, parse_header, read_header
from twelvelead.data.recording import read_recording
from twelvelead.errors import RecordingError


@pytest.mark.parametrize(
    "line, name, frequency_hz, n_samples",
    [
        ("A0001 12 500 5000", "A0001", 500, 5000),
        ("A0001.mat 12 500 5000", "A0001", 500, 5000),
        ("A0001 12 500 5000 12-May-2020 12:33:59", "A0001", 500, 5000),
        ("A0001 12 257.5 5000 11:22:33 01/02/2020", "A0001", 257.5, 5000),
        ("A0001 12 500/1000(0) 5000", "A0001", 500, 5000),
        ("A0001 12 500/1000 5000", "A0001", 500, 5000),
        ("  A0001\t12  1000.0   5000  ", "A0001", 1000, 5000),
        ("A0001 12 500", "A0001", 500, 0),
        ("my-rec_1 12 100 0", "my-rec_1", 100, 0),
        ("a.b.mat 12 100 7", "a.b", 100, 7),
    ],
)
def test_record_lines(line, name, frequency_hz, n_samples):
    header = parse_header(made.header(record_line=line))
    assert (header.name, header.frequency_hz, header.n_samples, header.notes) == (name, frequency_hz, n_samples, ())


@pytest.mark.parametrize(
    "line",
    [
        "A0001 12 0 5000",
        "A0001 12 0.0 5000",
        "A0001 12 -500 5000",
        "A0001 12 NaN 5000",
        "A0001 12 inf 5000",
        "A0001 12 fast 5000",
        "A0001 12 1e9 5000",
        "A0001 12 200000 5000",
        "A0001 12 1,000 5000",
        "A0001 12 5OO 5000",
        "A0001 12 / 5000",
        "A0001 12 0.5 5000",
    ],
)
def test_a_frequency_that_is_none_or_may_be_two_is_refused(line):
    with pytest.raises(RecordingError, match=r"A0001: sampling frequency|A0001: .* may be"):
        parse_header(made.header(record_line=line), "A0001")


def test_a_missing_frequency_is_wfdbs_default_and_noted():
    header = parse_header(made.header(record_line="A0001 12"))
    assert header.frequency_hz == 250 and len(header.notes) == 1 and "250 Hz" in header.notes[0]


@pytest.mark.parametrize(
    "written, frequency_hz",
    [
        ("500Hz", 500),
        ("500hz", 500),
        ("500 Hz", 500),
        ("500,0", 500),
        ("257,5", 257.5),
        ("0.5kHz", 500),
        ("1 kHz", 1000),
        ("500sps", 500),
        ("500samples/s", 500),
        ("500Hz/1000", 500),
        ("1.000,0", 1000),
    ],
)
def test_frequencies_in_other_spellings_are_read_and_noted(written, frequency_hz):
    header = parse_header(made.header(record_line=f"A0001 12 {written} 5000"))
    assert header.frequency_hz == frequency_hz and header.n_samples == 5000 and len(header.notes) == 1


@pytest.mark.parametrize(
    "text, age, noted",
    [
        ("74", 74, False),
        ("7.4", 7.4, False),
        ("0", 0, False),
        ("NaN", math.nan, False),
        ("Unknown", math.nan, False),
        ("", math.nan, False),
        (None, math.nan, False),
        ("074", 74, False),
        ("74 years", 74, False),
        ("74Y", 74, False),
        ("300", 90, False),  # PTB-XL's code for everyone over 89
        ("-1", math.nan, True),
        ("6 months", 0.5, True),
        ("26 weeks", 0.498, True),
        ("006M", 0.5, True),
        ("045Y", 45, True),
        ("74,5", 74.5, True),
        ("89+", 89, True),
        (">89", 90, True),
        ("> 89 years", 90, True),
        (">=90", 90, True),
        ("65 ans", 65, False),
        ("74 years old", 74, False),
        ("6 m", math.nan, True),
        ("65-70", math.nan, True),
        ("1,500", math.nan, True),
        ("inf", math.nan, True),
    ],
)
@pytest.mark.parametrize("mark", ["#", "# "])
def test_ages(text, age, noted, mark):
    header = parse_header(made.header(age=text, mark=mark))
    assert header.age_years == pytest.approx(age, nan_ok=True, rel=1e-3) and bool(header.notes) == noted


@pytest.mark.parametrize(
    "text, sex, noted",
    [
        ("Male", "male", False),
        ("M", "male", False),
        ("F", "female", False),
        ("FEMALE", "female", False),
        ("Unknown", "unknown", False),
        ("NaN", "unknown", False),
        ("", "unknown", False),
        (None, "unknown", False),
        ("weiblich", "female", False),
        ("W", "female", False),
        ("femme", "female", False),
        ("mujer", "female", False),
        ("männlich", "male", False),
        ("hombre", "male", False),
        ("2", "unknown", True),
        ("0", "unknown", True),
        ("1", "unknown", True),
        ("M/F", "unknown", True),
    ],
)
def test_sexes(text, sex, noted):
    header = parse_header(made.header(sex=text, mark="# "))
    assert header.sex == sex and bool(header.notes) == noted


@pytest.mark.parametrize(
    "text, codes",
    [
        ("426783006", ("426783006",)),
        ("1,2", ("1", "2")),
        ("1, 2", ("1", "2")),
        ("1,2,", ("1", "2")),
        ("2,1,2,1", ("2", "1")),
        (",1,,2", ("1", "2")),
        ("", ()),
        (",", ()),
        (None, ()),
        ("NaN", ()),
        ("Unknown", ()),
        ("AF,I-AVB", ("AF", "I-AVB")),
    ],
)
@pytest.mark.parametrize("mark", ["#", "# "])
def test_diagnoses(text, codes, mark):
    assert parse_header(made.header(dx=text, mark=mark)).codes == codes


@pytest.mark.parametrize(
    "comment, patient",
    [
        ("#Patient: 15709", "15709"),
        ("# patient_id: 15709", "15709"),
        ("#Subject ID:p7", "p7"),
        ("#Patient: Unknown", None),
        ("#Rx: Unknown", None),
    ],
)
def test_patients(comment, patient):
    assert parse_header(made.header(comments=[comment])).patient == patient


@pytest.mark.parametrize(
    "written, lead, noted",
    [
        ("aVR", "aVR", False),
        ("avr", "aVR", False),
        (" AVR  ", "aVR", False),
        ("v6", "V6", False),
        ("iii", "III", False),
        ("Lead I", "I", True),
        ("ecg_v1", "V1", True),
        ("LEAD_aVF", "aVF", True),
        ("MLII", "MLII", True),
        ("-aVR", "aVR", True),
        ("ECG", "ECG", True),
        ("", "signal 1", True),
        ("V 1", "V1", True),
        ("chest lead 4", "chest lead 4", True),
    ],
)
def test_lead_names(written, lead, noted):
    header = parse_header(made.header(leads=(written,)))
    assert header.leads == (lead,) and bool(header.notes) == noted


@pytest.mark.parametrize(
    "line, lead, baseline",
    [
        ("A.mat 16+24 1000/mV 16 7 0 0 0 V1", "V1", 7),
        ("A.mat 16+24 1000(3)/mV 16 7 0 0 0 V1", "V1", 3),
        ("A.mat 16+24 1000/mV 16 7 V1", "V1", 7),
        ("A.mat 16+24 1000/mV V1", "V1", 0),
        ("A.mat 16+24 V1", "V1", 0),
        ("A.mat 16+24 1000/mV 16 7 chest lead 1 of 3", "chest lead 1 of 3", 7),
        ("A.mat 16", "signal 1", 0),
    ],
)
def test_signal_lines_that_end_early(line, lead, baseline):
    (signal,) = parse_header(f"A 1 500 10\n{line}").signals
    assert (signal.lead, signal.baseline) == (lead, baseline)
    assert signal.gain_per_mv == (1000 if "1000" in line else 200)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\n\n  \n").encode(),
        lambda text: text.encode() + b"#Hx: Herzschw\xe4che\n",
        lambda text: b"# written by hand\n" + text.encode(),
        lambda text: text.rstrip("\n").encode(),
    ],
)
def test_line_ends_encodings_and_blank_lines_change_nothing(tmp_path, disguise):
    plain = read_header(made.write(tmp_path, "A0001", made.header(), None))
    assert read_header(made.write(tmp_path, "A0001", disguise(made.header()), None)) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "#Age: 74\n",
        "A0001\n",
        "A0001 twelve 500 5000\n",
        "A0001 -1 500 5000\n",
        "A0001 2 500 10\nA0001.mat\n",
        "A0001/2 1 500 10\n",
        "A0001/x 1 500 10\n",
        "A0001/1 1 500 10\n../../x 10\n",
        "\0\1\2",
    ],
)
def test_what_is_no_header_is_named(tmp_path, text):
    path = made.write(tmp_path, "A0001", text, made.matlab4(made.adc()))
    for read in (read_header, read_recording):
        with pytest.raises(RecordingError, match=r"A0001\.hea: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_count_of_leads_that_is_wrong_is_noted_and_the_lines_are_believed(tmp_path):
    values = made.adc(12, 50)
    for n_leads in (8, 15):
        path = made.write_mat(tmp_path, "A0001", values, record_line=f"A0001 {n_leads} 500 50")
        recording = read_recording(path)
        assert recording.leads == LEADS and len(recording.notes) == 1
