#!/usr/bin/env bash
# Runs a third of the tests as on a poor machine: 13 GB of address space, home and temporary folders that cannot be
# written, the C locale, and no UTF-8 mode of Python. Ends with pytest's exit code, which is not zero if a test fails.
#     bash scripts/restricted.sh            the first third; THIRD=1 and THIRD=2 choose the others
#     bash scripts/restricted.sh tests/data -x      further arguments go to pytest
# Where the system allows it (`unshare`), home, /tmp and /var/tmp are mounted read-only, which binds root as well.
# Elsewhere home and TMPDIR are folders without write permission.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
memory_kb=$((13 * 1000 * 1000)) # the test machine of 2020 had 13 GB
[ -x .venv/bin/python ] || bash scripts/setup.sh requirements-test.txt # what scripts/test.sh has installed is taken as it is

place=$PWD/build/restricted # build/ is ignored by git
rm -rf "$place"
mkdir -p "$place/home" "$place/temporary"
chmod 555 "$place/home" "$place/temporary"
export HOME=$place/home TMPDIR=$place/temporary THIRD=${THIRD:-0}
export LC_ALL=C PYTHONUTF8=0 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
unset LANG LANGUAGE MPLCONFIGDIR XDG_CACHE_HOME XDG_CONFIG_HOME TORCHINDUCTOR_CACHE_DIR PYTHONIOENCODING

# Mounts each folder before `--` over itself, read-only, and then becomes the command behind it.
read_only='while [ "$1" != -- ]; do mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 97; shift; done
    shift; exec "$@"'
folders=("$HOME" "$TMPDIR")
case $PWD/ in /tmp/* | /var/tmp/*) ;; *) folders+=(/tmp /var/tmp) ;; esac
mounted=()
for unshare in "unshare --mount" "unshare --map-root-user --mount"; do
    if $unshare sh -c "$read_only" sh "${folders[@]}" -- true 2> /dev/null; then
        mounted=($unshare sh -c "$read_only" sh "${folders[@]}" --)
        break
    fi
done
echo "restricted.sh: third $THIRD of the tests, $((memory_kb / 1000000)) GB, ${mounted[0]:-no unshare}:" \
    "${folders[*]} read-only, LC_ALL=C"

code=0
(
    ulimit -v "$memory_kb"
    PYTHONPATH=scripts exec "${mounted[@]}" .venv/bin/python -m pytest -q -o testpaths=tests -m "" -p third_of_tests \
        -p no:cacheprovider --basetemp "$place/tests" --durations=5 -r fE "$@"
) || code=$?
chmod 755 "$place/home" "$place/temporary"
exit "$code"
