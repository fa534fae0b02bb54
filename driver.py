#!/usr/bin/env python
"""Classifies a folder of recordings: `python driver.py MODEL DATA OUTPUTS`.

Writes one CSV for each recording. The same rows as the organizers' driver would get from run_model, several times
faster, since recordings are scored in batches. Exit code 1 if more than 5 % of the recordings could not be classified.
"""

import sys

from twelvelead.cli import main

if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python driver.py MODEL DATA OUTPUTS")
    sys.exit(main(["classify", *sys.argv[1:]]))
