"""Twelve-lead ECG recordings in, cardiac diagnoses out; see README.md and `twelvelead --help`."""

__version__ = "0.1.0"
