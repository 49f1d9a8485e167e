#!/usr/bin/env bash
# From nothing to a table of results: environment, embedded data, three rows, a picture.
#   bash tools/quickstart.sh
# Takes less than 6 minutes on 2 cores once the packages are installed; docs/embedded_data.md says
# what is drawn and why. Results go to work_dirs/quickstart.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_venv.sh
.venv/bin/python tools/dataset_converters/make_toy_world.py
exec .venv/bin/python tools/quickstart.py "$@"
