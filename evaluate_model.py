#!/usr/bin/env python
"""Scores outputs: `python evaluate_model.py LABELS OUTPUTS [SCORES.csv [CLASS_SCORES.csv]]`.

LABELS and OUTPUTS are folders of .hea and .csv files. Without SCORES.csv the scores are printed. What is printed and
written is byte for byte what the official script of the year prints and writes; `--help` lists what can be added.
Exit code 2 means that the last line on standard error is an error. The work is done by twelvelead/evaluation.
"""

import argparse
import os
import sys

if __name__ == "__main__":  # before numpy: for small matrix products, starting threads takes longer than it saves
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from twelvelead.console import run_command
from twelvelead.evaluation import options as evaluator
from twelvelead.evaluation.run import evaluate_folders


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="evaluate_model.py", description=evaluator.DESCRIPTION)
    evaluator.add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(evaluator.without_ambiguity(list(sys.argv[1:] if arguments is None else arguments)))
    evaluator.complete(parser, options)
    return run_command("evaluate_model.py", lambda: evaluate_folders(options), debug=options.debug, prefix="error")


if __name__ == "__main__":
    sys.exit(main())
