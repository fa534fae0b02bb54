"""The helper functions that the 2021 organizers' scripts take from a file of this name.

Their `test_model.py` begins with `from helper_code import *`. When they run an entry they replace this file by their
own copy, so nothing in the package imports it. This copy reads headers with `twelvelead.data.header` and understands
the same spellings.
"""

import os

import numpy as np

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS, header_text, parse_header

twelve_leads = LEADS
six_leads = LEADS[:6]
four_leads = ("I", "II", "III", "V2")
three_leads = ("I", "II", "V2")
two_leads = ("I", "II")
lead_sets = (twelve_leads, six_leads, four_leads, three_leads, two_leads)


def find_challenge_files(data_directory):
    """Paths of the headers in a folder tree that have a `.mat` beside them, and of these, both in natural order."""
    headers = [str(path) for path in find_recordings(data_directory)]
    headers = [path for path in headers if os.path.isfile(path[:-4] + ".mat")]
    return headers, [path[:-4] + ".mat" for path in headers]


def load_header(header_file):
    """Text of a header."""
    return header_text(header_file)


def load_recording(recording_file, header=None, leads=None, key="val"):
    """ADC units (leads, samples) of a `.mat` as stored; with a header and leads, only the rows of those leads."""
    from scipy.io import loadmat

    recording = loadmat(recording_file)[key]
    return choose_leads(recording, header, leads) if header and leads else recording


def choose_leads(recording, header, leads):
    """The rows of an array (leads, samples) that hold the given leads, in their order."""
    available = get_leads(header)
    return np.asarray(recording)[[available.index(lead) for lead in leads]]


def get_recording_id(header):
    return parse_header(header).name


def get_leads(header):
    """Leads in the order of the signal's rows."""
    return parse_header(header).leads


def get_num_leads(header):
    return len(get_leads(header))


def sort_leads(leads):
    """Standard leads in standard order, then any others by name."""
    return tuple(sorted(leads, key=lambda lead: (LEADS.index(lead) if lead in LEADS else len(LEADS), lead)))


def get_frequency(header):
    return parse_header(header).frequency_hz


def get_num_samples(header):
    return parse_header(header).n_samples


def get_adc_gains(header, leads):
    """ADC units in one millivolt of each given lead."""
    return _of_leads(header, leads, parse_header(header).gains_per_mv)


def get_baselines(header, leads):
    """ADC units at 0 mV of each given lead."""
    return _of_leads(header, leads, parse_header(header).baselines)


def _of_leads(header, leads, values):
    available = get_leads(header)
    return np.array([values[available.index(lead)] for lead in leads], dtype=float)


def get_age(header):
    """Years, NaN if unknown."""
    return parse_header(header).age_years


def get_sex(header):
    """ "Female", "Male" or "Unknown"."""
    return parse_header(header).sex.capitalize()


def get_labels(header):
    """SNOMED CT codes of the diagnoses."""
    return list(parse_header(header).codes)


def save_outputs(output_file, recording_id, classes, labels, probabilities):
    """Writes the four lines of an output: #recording, classes, labels (0 or 1), probabilities."""
    lines = (
        f"#{recording_id}",
        ",".join(map(str, classes)),
        ",".join(str(int(label)) for label in labels),
        ",".join(map(str, probabilities)),
    )
    with open(output_file, "w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
