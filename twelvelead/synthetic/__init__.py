"""Recordings made from a heart-vector model, for the demo and for tests: any diagnosis, any hospital, no patient.

    recording = make_recording(["AF", "CRBBB"], seed=1)                  # twelve leads, 10 s, 500 Hz, millivolts
    headers = write_hospital("data/elm", "elm", count=100, seed=1)       # files as the hospital `elm` writes them
    python -m twelvelead synthesize data --hospitals alder,birch --count 300 --seed 1

diagnoses.py says what goes together, rhythm.py when the heart beats, beats.py what a diagnosis does to a beat; heart.py
moves the dipole and projects it on the leads, recorder.py adds what electrodes pick up besides, making.py puts it all
together, hospitals.py writes files.
"""

from .diagnoses import random_diagnoses
from .hospitals import HOSPITALS, Hospital, write_hospital
from .making import make_recording

__all__ = ["HOSPITALS", "Hospital", "make_recording", "random_diagnoses", "write_hospital"]
