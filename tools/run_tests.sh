#!/usr/bin/env bash
# Everything that has to pass: ruff, mypy and the tests.
#   bash tools/run_tests.sh [arguments of pytest]           the core suite, which CI runs
#   bash tools/run_tests.sh --all [arguments of pytest]     the deep tests too, and many more draws
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_venv.sh
BIN="$PWD/.venv/bin"

selection=(-m "not deep")
if [ "${1:-}" = "--all" ]; then
    shift
    selection=()
    export HYPOTHESIS_PROFILE=deep
fi

# Two test processes share the cores, so each computes with one thread.
export OMP_NUM_THREADS=1
export HF_HUB_OFFLINE=1

echo "ruff check"
"$BIN/ruff" check .
echo "ruff format"
"$BIN/ruff" format --check .
echo "mypy"
"$BIN/mypy"
# The tests of a file stay together, as they share what its fixtures train.
exec "$BIN/python" -m pytest -q -n 2 --dist loadfile "${selection[@]}" "$@"
