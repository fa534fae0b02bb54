#!/usr/bin/env bash
# Installs what the tests of the page of `twelvelead report` need, where it is missing and can be had:
#     bash scripts/browser.sh
# Debian's Chromium with its driver, and axe-core, an accessibility checker, from npm into build/axe (ignored by git).
# It never fails: the tests skip with one line without them.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
axe_version=4.10.3
quiet() { timeout 600 "$@" > /dev/null 2>&1; }

if ! { command -v chromium && command -v chromedriver; } > /dev/null; then
    root=()
    if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
    if command -v apt-get > /dev/null && quiet "${root[@]}" apt-get update &&
        quiet "${root[@]}" apt-get install -y --no-install-recommends chromium chromium-driver; then
        echo "browser.sh: Chromium installed"
    else
        echo "browser.sh: no Chromium here, and none could be installed; tests that need it will skip"
    fi
fi
if ! [ -f build/axe/node_modules/axe-core/axe.min.js ]; then
    if command -v npm > /dev/null && quiet npm install --prefix build/axe --no-save --no-audit --no-fund \
        --ignore-scripts "axe-core@$axe_version"; then
        echo "browser.sh: axe-core $axe_version installed"
    else
        echo "browser.sh: no axe-core here, and it could not be installed; tests that need it will skip"
    fi
fi
exit 0
