#!/usr/bin/env bash
# Runs the tests from a fresh clone: makes .venv, installs into it, starts pytest, to which all further arguments go.
#     bash scripts/test.sh              everything but tests marked `long`; minutes on two cores
#     bash scripts/test.sh --fast       without tests marked `slow`, which start processes or train; under 90 s
#     bash scripts/test.sh --all        everything
#     bash scripts/test.sh tests/preprocessing/test_prepare.py -x     one file, up to the first failure
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
marked="not long"
case ${1:-} in
    --fast) marked="not slow and not long" && shift ;;
    --all) marked="" && shift ;;
esac
bash scripts/setup.sh requirements-test.txt
# The tests' networks are tiny: on a busy machine, two threads that wait for each other took four times as long as one.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec .venv/bin/python -m pytest -q -o testpaths=tests --durations=5 -m "$marked" "$@"
