#!/usr/bin/env python
"""Classifies a folder of recordings: `python driver.py MODEL DATA OUTPUTS [--notes NOTES.csv]`.

Writes one CSV for each recording, with the rows that the organizers' driver would get from run_model, several times
faster, since recordings are scored in batches. Standard error names each recording that fell back to sinus rhythm and
the first 20 of those that had to be repaired; NOTES.csv gets all of them.

Exit codes: 0; 1 if more than 5 % of the recordings could not be classified or an output could not be written; 2 if the
run could not start, such as without a model; 130 after Ctrl-C and 143 after SIGTERM.
"""

import sys

if __name__ == "__main__":
    try:
        from twelvelead.cli import main
        from twelvelead.terminal import open_standard_streams
    except KeyboardInterrupt:  # importing takes a moment, in which main cannot answer yet
        sys.exit(130)
    open_standard_streams()
    if len(sys.argv) < 4 and not {"-h", "--help"} & set(sys.argv):
        sys.exit("usage: python driver.py MODEL DATA OUTPUTS [--notes NOTES.csv]")
    sys.exit(main(["classify", *sys.argv[1:]]))
