"""Our copy of the organizers' helpers gives what their scripts ask of it."""

from __future__ import annotations

from pathlib import Path

import made
import numpy as np

import helper_code

LEADS = ("V2", "avr", "I")


def test_headers_and_recordings_of_a_tree_belong_together(tmp_path):
    values = made.adc(3, 50)
    for name in ("g2/B", "g1/C", "A"):
        made.write_mat(tmp_path / Path(name).parent, Path(name).name, values, leads=LEADS)
    made.write(tmp_path, "D", made.header("D"), None)  # a header without a signal
    headers, recordings = helper_code.find_challenge_files(str(tmp_path))
    assert [Path(path).name for path in headers] == ["A.hea", "C.hea", "B.hea"]
    assert recordings == [path.replace(".hea", ".mat") for path in headers]
    np.testing.assert_array_equal(helper_code.load_recording(recordings[0]), values)


def test_a_header_tells_its_values(tmp_path):
    values = made.adc(3, 50)
    path = made.write_mat(tmp_path, "A0001", values, leads=LEADS, gain=["1000(3)/mV", "500/mV", "4.88/uV"], age="NaN")
    header = helper_code.load_header(path)
    assert helper_code.get_recording_id(header) == "A0001"
    assert helper_code.get_leads(header) == ("V2", "aVR", "I") and helper_code.get_num_leads(header) == 3
    assert helper_code.sort_leads(helper_code.get_leads(header)) == ("I", "aVR", "V2")
    assert helper_code.get_frequency(header) == 500 and helper_code.get_num_samples(header) == 50
    assert helper_code.get_adc_gains(header, ("I", "V2")).tolist() == [4880, 1000]
    assert helper_code.get_baselines(header, ("I", "V2")).tolist() == [0, 3]
    assert np.isnan(helper_code.get_age(header)) and helper_code.get_sex(header) == "Male"
    assert helper_code.get_labels(header) == ["426783006", "59118001"]
    chosen = helper_code.load_recording(path.with_suffix(".mat"), header, ("I", "V2"))
    np.testing.assert_array_equal(chosen, values[[2, 0]])


def test_outputs_are_byte_exact(tmp_path):
    helper_code.save_outputs(
        tmp_path / "A.csv", "A0001", ("426783006", "164889003"), np.array([True, False]), np.array([0.1, 1e-7])
    )
    assert (tmp_path / "A.csv").read_bytes() == b"#A0001\n426783006,164889003\n1,0\n0.1,1e-07\n"
    helper_code.save_outputs(tmp_path / "B.csv", "B", [], [], [])
    assert (tmp_path / "B.csv").read_bytes() == b"#B\n\n\n\n"
