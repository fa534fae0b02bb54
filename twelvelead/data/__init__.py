"""Recordings and their labels: WFDB files to `Recording`, classes, sources, splits."""
