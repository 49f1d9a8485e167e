#!/usr/bin/env bash
# Make the repository's .venv with the pinned requirements, once; a second call does nothing.
#   bash tools/setup_venv.sh          then use .venv/bin/python
# PYTHON names the interpreter to make it with (3.11 or newer; python3.11 is what the pins were
# seen to work on). Packages come from the index that pip is configured with.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
STAMP="$VENV/.requirements.sha256"

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer was found; set PYTHON to one" >&2
    return 1
}

# The path is part of it: a moved repository needs its editable install again.
wanted="$({ cat "$ROOT/requirements/lock.txt" "$ROOT/setup.py"; echo "$ROOT"; } | sha256sum | cut -d' ' -f1)"
if [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi
if [ ! -x "$VENV/bin/python" ]; then
    python="$(find_python)"
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv "$VENV"
fi
echo "Installing requirements/lock.txt (about 6 GB, a few minutes the first time)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$ROOT/requirements/lock.txt"
echo "Installing the package itself"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e "$ROOT"
echo "$wanted" >"$STAMP"
