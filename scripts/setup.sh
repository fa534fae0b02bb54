#!/usr/bin/env bash
# Makes this clone's virtual environment, .venv, or refreshes it:
#     bash scripts/setup.sh requirements.txt            what scripts/demo.sh needs
#     bash scripts/setup.sh requirements-test.txt       what scripts/test.sh needs
# The project itself is installed too, in a way that follows changes of the code: .venv/bin/twelvelead is its command.
# If all of that is installed already, nothing is done. PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=${1:?name the requirements: bash scripts/setup.sh requirements.txt}
stamp=.venv/installed-$requirements # a copy of all files that say what to install, as they were at the last installation

wanted() { cat requirements*.txt pyproject.toml; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; }

if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then # there is none, or one that was left half made
    for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
        if fits "$python" || [ -n "${PYTHON:-}" ]; then break; fi
    done
    if ! fits "$python"; then
        echo "setup.sh: needs Python 3.10 to 3.13, and ${PYTHON:-python3} is none;" \
            "install one and name it, as in PYTHON=/usr/bin/python3.12 bash scripts/test.sh" >&2
        exit 1
    fi
    echo "Making .venv with $("$python" --version)"
    if ! "$python" -m venv .venv; then
        echo "setup.sh: $python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi
if ! wanted | cmp -s - "$stamp"; then
    echo "Installing $requirements into .venv; torch is large and takes some minutes"
    rm -f .venv/installed-*
    pip() { .venv/bin/python -m pip --disable-pip-version-check install "$@"; }
    pip -r "$requirements" -r requirements-build.txt
    # The build backend is there, so nothing is downloaded; what the project needs has just been installed.
    pip --quiet --no-deps --no-build-isolation --no-index --editable .
    wanted > "$stamp"
fi
