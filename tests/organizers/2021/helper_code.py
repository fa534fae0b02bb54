"""Stand-in for the organizers' 2021 helpers, written from their description: strict, and laid over our own file."""

import os

from scipy.io import loadmat

TWELVE_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def find_challenge_files(data_directory):
    """Sorted headers of one level that have a .mat of the same root, and those .mat files."""
    roots = sorted(os.path.splitext(name)[0] for name in os.listdir(data_directory)
                   if name.endswith(".hea") and not name.startswith("."))
    roots = [os.path.join(data_directory, root) for root in roots]
    roots = [root for root in roots if os.path.isfile(root + ".mat")]
    return [root + ".hea" for root in roots], [root + ".mat" for root in roots]


def load_header(header_file):
    with open(header_file) as file:
        return file.read()


def load_recording(recording_file, key="val"):
    return loadmat(recording_file)[key]


def get_recording_id(header):
    return header.split("\n")[0].split(" ")[0]


def get_leads(header):
    """The last word of each signal line, as it is spelled."""
    lines = header.split("\n")
    number = int(lines[0].split(" ")[1])
    return tuple(line.split(" ")[-1] for line in lines[1:number + 1])


def sort_leads(leads):
    """The twelve leads in their usual order, then all others by name."""
    known = [lead for lead in TWELVE_LEADS if lead in leads]
    return tuple(known + sorted(lead for lead in leads if lead not in TWELVE_LEADS))


def save_outputs(output_file, recording_id, classes, labels, probabilities):
    rows = (classes, labels, probabilities)
    with open(output_file, "w") as file:
        file.write(f"#{recording_id}\n" + "".join(",".join(str(value) for value in row) + "\n" for row in rows))
