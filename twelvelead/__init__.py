"""Twelve-lead ECG recordings in, cardiac diagnoses out. See README.md; `python -m twelvelead --help` lists the commands."""

__version__ = "0.1.0"
