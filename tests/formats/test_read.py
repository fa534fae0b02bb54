"""Recordings of every format: what a file tells is taken, what it does not tell must be told, nothing is guessed."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from made import adc, write_dat, write_mat

from twelvelead.data.leads import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.errors import RecordingError, UserError
from twelvelead.formats.arrays import recording_of
from twelvelead.formats.kinds import kind_of
from twelvelead.formats.read import read_file
from twelvelead.formats.told import Told

TOLD = Told(500.0, LEADS, "mV")
SIGNAL = np.random.default_rng(0).normal(0, 0.5, (12, 1000)).astype(np.float32)


def one_line(path, told=None) -> str:
    """The message of the error that reading a file must raise; it is one line and names the file."""
    with pytest.raises(UserError) as error:
        read_file(path, told)
    text = str(error.value)
    assert "\n" not in text and path.name in text, text
    return text


def csv_text(signal=SIGNAL, names=LEADS, delimiter=",", time=None, decimal=".") -> str:
    """A table of one row a sample."""
    columns = list(signal) if time is None else [time[1], *signal]
    lines = [] if names is None else [delimiter.join(([time[0]] if time else []) + list(names))]
    lines += [delimiter.join(f"{value:.7g}".replace(".", decimal) for value in row) for row in np.transpose(columns)]
    return "\n".join(lines) + "\n"


# -- WFDB ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["A0001", "A0001.hea", "A0001.mat"])
def test_a_wfdb_recording_is_found_by_each_of_its_names(name, tmp_path):
    header = write_mat(tmp_path, "A0001", adc())
    np.testing.assert_array_equal(read_file(tmp_path / name).signal_mv, read_recording(header).signal_mv)


def test_a_signal_file_of_any_name_finds_the_header_that_names_it(tmp_path):
    header = write_dat(tmp_path, "A0001", adc(bits=12), "212")
    assert read_file(tmp_path / "A0001.dat").leads == read_recording(header).leads
    (tmp_path / "A0001.dat").rename(tmp_path / "A0001.xyz")
    header.write_text(header.read_text().replace("A0001.dat", "A0001.xyz"))
    assert read_file(tmp_path / "A0001.xyz").leads == LEADS


def test_what_contradicts_a_header_is_an_error(tmp_path):
    path = write_mat(tmp_path, "A0001", adc())
    assert "500 Hz" in one_line(path, Told(250.0))
    assert "--leads" in one_line(path, Told(leads=LEADS))
    assert "--unit" in one_line(path, Told(unit="mV"))
    assert read_file(path, Told(500.0)).frequency_hz == 500


def test_age_and_sex_as_told_are_taken_and_a_contradiction_is_noted(tmp_path):
    path = write_mat(tmp_path, "A0001", adc(), age=None, sex=None)
    recording = read_file(path, Told(age_years=63, sex="female"))
    assert (recording.age_years, recording.sex) == (63, "female")
    other = read_file(write_mat(tmp_path, "A0002", adc(), age="50", sex="Male"), Told(age_years=63, sex="female"))
    assert (other.age_years, other.sex) == (63, "female") and sum("told" in note for note in other.notes) == 2


def test_a_mat_without_a_header_needs_to_be_told_everything(tmp_path):
    header = write_mat(tmp_path, "A0001", adc())
    expected = read_recording(header)
    header.unlink()
    text = one_line(tmp_path / "A0001.mat")
    assert all(option in text for option in ("--frequency-hz", "--leads", "--unit"))
    told = Told(500.0, LEADS, "adc", adc_per_mv=1000.0)
    np.testing.assert_allclose(read_file(tmp_path / "A0001.mat", told).signal_mv, expected.signal_mv, rtol=1e-6)


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delimiter, decimal", [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", ".")]
)
def test_a_table_is_read_whatever_divides_its_columns(delimiter, decimal, tmp_path):
    (tmp_path / "ecg.csv").write_text(csv_text(delimiter=delimiter, decimal=decimal))
    recording = read_file(tmp_path / "ecg.csv", Told(500.0, unit="mV"))
    np.testing.assert_allclose(recording.signal_mv, SIGNAL, rtol=1e-5)
    assert recording.leads == LEADS and any("line of names" in note for note in recording.notes)


@pytest.mark.parametrize(
    "name, step, frequency",
    [("time", 0.002, 500), ("time", 2, 500), ("t [s]", 1 / 257, 257), ("time_ms", 4, 250), ("Time (us)", 1000, 1000)],
)
def test_a_column_of_times_tells_the_sampling_frequency(name, step, frequency, tmp_path):
    (tmp_path / "ecg.csv").write_text(csv_text(time=(name, np.arange(1000) * step)))
    recording = read_file(tmp_path / "ecg.csv", Told(unit="mV"))
    assert recording.frequency_hz == frequency
    assert any("sampling frequency" in note for note in recording.notes)
    assert "leave one of them out" in one_line(tmp_path / "ecg.csv", Told(123.0, unit="mV"))


def test_times_that_fit_no_frequency_are_not_guessed(tmp_path):
    (tmp_path / "ecg.csv").write_text(csv_text(time=("time", np.arange(1000) * 1.7e5)))
    assert "--frequency-hz" in one_line(tmp_path / "ecg.csv", Told(unit="mV"))


def test_units_in_the_names_of_columns_are_taken_if_all_have_one(tmp_path):
    path = tmp_path / "ecg.csv"
    path.write_text(csv_text(SIGNAL * 1000, [f"{lead} (uV)" for lead in LEADS]))
    np.testing.assert_allclose(read_file(path, Told(500.0)).signal_mv, SIGNAL, rtol=1e-4)
    assert "unit" in one_line(path, Told(500.0, unit="mV"))
    path.write_text(csv_text(SIGNAL, [*LEADS[:11], "V6 (mV)"]))
    assert "--unit" in one_line(path, Told(500.0))


def test_a_table_without_names_needs_leads_and_may_lie_either_way(tmp_path):
    path = tmp_path / "ecg.txt"
    path.write_text(csv_text(names=None))
    assert "--leads" in one_line(path, Told(500.0, unit="mV"))
    np.testing.assert_allclose(read_file(path, TOLD).signal_mv, SIGNAL, rtol=1e-5)
    path.write_text(csv_text(SIGNAL.T, names=None))
    np.testing.assert_allclose(read_file(path, TOLD).signal_mv, SIGNAL, rtol=1e-5)


def test_the_numbers_that_pandas_writes_as_names_are_no_samples(tmp_path):
    path = tmp_path / "ecg.csv"
    path.write_text(csv_text(names=[str(k) for k in range(12)]))
    assert read_file(path, TOLD).signal_mv.shape == (12, 1000)
    path.write_text("," + csv_text(names=LEADS, time=("", np.arange(1000))).lstrip(","))
    recording = read_file(path, Told(500.0, unit="mV"))
    np.testing.assert_allclose(recording.signal_mv, SIGNAL, rtol=1e-5)


def test_empty_cells_are_missing_samples(tmp_path):
    lines = csv_text().splitlines()
    lines[5] = ",".join(["", *lines[5].split(",")[1:]])
    (tmp_path / "ecg.csv").write_text("\n".join(lines))
    recording = read_file(tmp_path / "ecg.csv", Told(500.0, unit="mV"))
    assert np.isnan(recording.signal_mv[0, 4]) and np.isnan(recording.signal_mv).sum() == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("I,II\n1,2\n1,x\n", "'x' is no number"),
        ("I,II\n1,2\n1\n", "1 cells instead of 2"),
        ("I,I\n1,2\n2,3\n", "ambiguous"),
        ("a,b\n1,2\n2,3\n", "none of the columns"),
        ("just one line", "no table"),
    ],
)
def test_a_table_that_cannot_be_understood_is_one_line(text, words, tmp_path):
    (tmp_path / "ecg.csv").write_text(text)
    assert words in one_line(tmp_path / "ecg.csv", Told(500.0, unit="mV"))


# -- NumPy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [lambda x: x, np.transpose])
def test_an_array_is_read_in_either_orientation(turn, tmp_path):
    np.save(tmp_path / "ecg.npy", turn(SIGNAL))
    np.testing.assert_array_equal(read_file(tmp_path / "ecg.npy", TOLD).signal_mv, SIGNAL)
    assert "--frequency-hz" in one_line(tmp_path / "ecg.npy", replace(TOLD, frequency_hz=None))
    assert "--unit" in one_line(tmp_path / "ecg.npy", replace(TOLD, unit=None))
    assert "--leads" in one_line(tmp_path / "ecg.npy", replace(TOLD, leads=None))


def test_an_npz_may_tell_everything_itself(tmp_path):
    path = tmp_path / "ecg.npz"
    np.savez(path, signal=SIGNAL * 1000, fs=360, leads=np.array(LEADS), unit="uV")
    recording = read_file(path)
    np.testing.assert_allclose(recording.signal_mv, SIGNAL, rtol=1e-6)
    assert recording.frequency_hz == 360 and len(recording.notes) == 3
    assert "sampling frequency" in one_line(path, Told(500.0))


def test_an_array_of_objects_is_refused_and_never_unpickled(tmp_path):
    np.save(tmp_path / "ecg.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "cannot be read" in one_line(tmp_path / "ecg.npy", TOLD)


def test_an_npz_that_unfolds_to_gigabytes_is_refused_before_it_does(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (12, 10**8)})
    with (
        zipfile.ZipFile(tmp_path / "ecg.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("signal.npy", "w", force_zip64=True) as file,
    ):
        file.write(header.getvalue())
        for _ in range(320):
            file.write(bytes(2**20))
    assert "unfold to" in one_line(tmp_path / "ecg.npz", TOLD)


# -- arrays ----------------------------------------------------------------------------------------


def test_units_become_millivolts_and_leads_standard_order():
    order = LEADS[::-1]
    for unit, per_mv, factor in (("mV", None, 1), ("uV", None, 1000), ("adc", 200.0, 200)):
        recording = recording_of(SIGNAL[::-1] * factor, Told(500.0, order, unit, per_mv))
        assert recording.leads == LEADS
        np.testing.assert_allclose(recording.signal_mv, SIGNAL, rtol=1e-6)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(frequency_hz=0.0), "sampling frequency"),
        (dict(frequency_hz=float("nan")), "sampling frequency"),
        (dict(unit="V"), "unknown unit"),
        (dict(unit="adc"), "how many ADC units"),
        (dict(adc_per_mv=200.0), "ADC units"),
        (dict(leads=("I", "I")), "named twice"),
        (dict(leads=("foo", "bar")), "none of the leads"),
        (dict(leads=("I", "II")), "2 leads are told"),
        (dict(age_years=200.0), "age"),
        (dict(sex="f"), "unknown sex"),
    ],
)
def test_what_is_told_must_be_possible(change, words):
    with pytest.raises(UserError) as error:
        recording_of(SIGNAL, replace(TOLD, **change))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "signal", [np.zeros((0, 5)), np.zeros((2, 3, 4)), np.array([["a"]]), np.float64(1), [[1], [1, 2]]]
)
def test_what_is_no_table_of_numbers_is_one_line(signal):
    with pytest.raises(RecordingError) as error:
        recording_of(signal, TOLD)
    assert "\n" not in str(error.value)


# -- what is not read ------------------------------------------------------------------------------

OTHERS = {
    "scan.pdf": (b"%PDF-1.7\n", "PDF"),
    "scan.png": (b"\x89PNG\r\n\x1a\n123", "PNG"),
    "scan.jpg": (b"\xff\xd8\xff\xe0", "JPEG"),
    "ecg.scp": (bytes(16) + b"SCPECG" + bytes(40), "SCP-ECG"),
    "ecg.xml": (b'<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3">', "HL7 aECG"),
    "muse.xml": (b"<?xml version='1.0'?><RestingECG>", "MUSE"),
    "holter.ecg": (b"ISHNE1.0" + bytes(100), "ISHNE"),
    "all.zip": (b"PK\x03\x04" + bytes(40), "zip"),
    "a.gz": (gzip.compress(b"1,2,3"), "gzip"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    "a.mat": (b"MATLAB 7.3 MAT-file, Platform" + bytes(600), "MATLAB 7.3"),
    "table.xlsx": (b"PK\x03\x04" + bytes(10), "Excel"),
    "a.json": (b'{"ecg": [1, 2]}', "JSON"),
    "a.pkl": (b"\x80\x04\x95", "pickle"),
    "a.dat": (bytes(range(256)), "without its header"),
    "a.bin": (bytes(range(256)), "no format that is known"),
    "a.csv": (b"", "empty"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_read_is_called_by_its_name_with_a_way_out(name, tmp_path):
    content, words = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    text = one_line(tmp_path / name, TOLD).replace("version 7.3", "MATLAB 7.3")
    assert words in text and text.rpartition(";")[2].strip()


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    assert "no such file" in one_line(tmp_path / "A0001")
    assert "folder" in one_line(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_are_a_recording_or_one_line(seed, tmp_path):
    rng = np.random.default_rng(seed)
    starts = [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00",
        b"0       ",
        bytes(128) + b"DICM",
        b"MATLAB 5.0 MAT-file",
        b"I,II\n",
    ]
    data = starts[seed % len(starts)] + rng.bytes(int(rng.integers(1, 3000)))
    path = tmp_path / f"a.{['csv', 'npy', 'mat', 'npz'][seed % 4]}"
    path.write_bytes(data)
    try:
        read_file(path, TOLD)
    except UserError as error:
        assert "\n" not in str(error)


def test_text_of_other_encodings_is_still_text():
    assert kind_of("Zeit;I;II\n0;1,5;2\n".encode("utf-16"), "a.csv").reader == "table"
    assert kind_of("Länge;I;II\n".encode("latin-1"), "a.csv").reader == "table"


# -- EDF and DICOM ---------------------------------------------------------------------------------


def write_edf(path, unit="uV", labels=None, factor=1000.0, frequencies=None):
    edfio = pytest.importorskip("edfio", reason="needs edfio, of the extra `formats`")
    import datetime

    patient = edfio.Patient(sex="F", birthdate=datetime.date(1950, 1, 1))
    recording = edfio.Recording(startdate=datetime.date(2020, 7, 1))
    labels = labels or [f"ECG {lead}" for lead in LEADS]
    frequencies = frequencies or [500] * len(labels)
    signals = [
        edfio.EdfSignal(
            row.astype(np.float64)[:: 500 // hz] * factor, sampling_frequency=hz, label=label, physical_dimension=unit
        )
        for row, label, hz in zip(SIGNAL, labels, frequencies)
    ]
    edfio.Edf(signals, patient=patient, recording=recording).write(path)


def test_an_edf_tells_leads_unit_frequency_age_and_sex(tmp_path):
    write_edf(tmp_path / "ecg.edf")
    recording = read_file(tmp_path / "ecg.edf")
    np.testing.assert_allclose(recording.signal_mv, SIGNAL, atol=2e-4)  # EDF has 16 bits
    assert recording.leads == LEADS and recording.frequency_hz == 500
    assert (recording.age_years, recording.sex) == (70, "female")
    assert "500" in one_line(tmp_path / "ecg.edf", Told(250.0))


def test_an_edf_without_units_needs_one_and_other_signals_are_left_out(tmp_path):
    write_edf(tmp_path / "ecg.edf", unit="", labels=["EKG I", "EKG II", "EEG Fp1"], frequencies=[500, 250, 100])
    assert "--unit" in one_line(tmp_path / "ecg.edf")
    recording = read_file(tmp_path / "ecg.edf", Told(unit="uV"))
    assert recording.leads == ("I", "II") and any("Fp1" in note for note in recording.notes)
    assert any("resampled to 500 Hz" in note for note in recording.notes)
    write_edf(tmp_path / "eeg.edf", labels=["EEG Fp1"])
    assert "no signal is called" in one_line(tmp_path / "eeg.edf")


def write_dicom(path, unit="uV", waveforms=True):
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the extra `formats`")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = TwelveLeadECGWaveformStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientAge, dataset.PatientSex = "063Y", "M"
    if waveforms:
        group = Dataset()
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 12, SIGNAL.shape[1]
        group.SamplingFrequency, group.WaveformBitsAllocated, group.WaveformSampleInterpretation = "500", 16, "SS"
        group.WaveformData = np.round(SIGNAL * 200).astype("<i2").T.tobytes()
        group.ChannelDefinitionSequence = []
        for lead in LEADS:
            channel, source, units = Dataset(), Dataset(), Dataset()
            source.CodeMeaning, units.CodeValue = f"Lead {lead} (Einthoven)" if lead in "III" else f"Lead {lead}", unit
            channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [units]
            channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "5", "1"
            channel.ChannelBaseline, channel.WaveformBitsStored = "0", 16
            group.ChannelDefinitionSequence.append(channel)
        dataset.WaveformSequence = [group]
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def test_a_dicom_waveform_tells_leads_unit_frequency_age_and_sex(tmp_path):
    write_dicom(tmp_path / "ecg.dcm")
    recording = read_file(tmp_path / "ecg.dcm")
    np.testing.assert_allclose(recording.signal_mv, SIGNAL, atol=0.003)
    assert recording.leads == LEADS and recording.frequency_hz == 500
    assert (recording.age_years, recording.sex) == (63, "male")


def test_a_dicom_file_without_waveform_or_voltage_is_one_line(tmp_path):
    write_dicom(tmp_path / "picture.dcm", waveforms=False)
    assert "no waveform" in one_line(tmp_path / "picture.dcm")
    write_dicom(tmp_path / "mmHg.dcm", unit="mm[Hg]")
    assert "no voltage" in one_line(tmp_path / "mmHg.dcm")
