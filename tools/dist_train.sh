#!/usr/bin/env bash
# Train with one process a GPU (on a machine without GPUs: that many processes on the CPU).
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
TOOLS="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck source=tools/launch.sh
source "$TOOLS/launch.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
