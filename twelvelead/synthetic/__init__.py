"""Recordings made from a heart-vector model, for the demo and for tests: any diagnosis, any hospital, no patient.

    recording = make_recording(["AF", "CRBBB"], seed=1)                  # twelve leads, 10 s, 500 Hz, millivolts
    recording = draw_recording(seed=1, k=0)                              # of a hospital and a patient drawn at random
    headers = write_hospital("data/elm", "elm", count=100, seed=1)       # files as the hospital `elm` writes them
    python -m twelvelead synthesize data --hospitals alder,birch --count 300 --seed 1

What is found: diagnoses.py (which findings there are and exclude each other), population.py (how often they occur
together), conventions.py (what annotators write of them).
The heart: person.py (whose it is), rhythm.py, ectopy.py and atria.py (when it beats), activation.py (QRS), recovery.py
(ST and T), beats.py (P, and all of these together), heart.py (waves, and the dipole seen by the leads).
The recording: recorder.py (electrodes, noise, filters), making.py (one of chosen findings), drawing.py (one drawn at
random), hospitals.py (files of five hospitals for the demo).
"""

from .diagnoses import random_diagnoses
from .drawing import draw_recording
from .hospitals import HOSPITALS, Hospital, write_hospital
from .making import make_recording

VERSION = 2  # raise it when a seed gives another recording than before

__all__ = ["HOSPITALS", "Hospital", "draw_recording", "make_recording", "random_diagnoses", "write_hospital"]
