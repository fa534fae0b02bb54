#!/usr/bin/env python
"""Trains on a folder of recordings: `python train_model.py DATA MODEL`.

The same as the organizers' script of this name, which replaces it there. `twelvelead train --help` lists the options,
which this script takes too.
"""

import sys

from twelvelead.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
