# Sourced by dist_train.sh and dist_test.sh.

# The Python to run: $PYTHON, else that of an active environment or of the repository's .venv.
choose_python() {
    local root
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    elif [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ] && [ -x "$root/.venv/bin/python" ]; then
        echo "$root/.venv/bin/python"
    else
        echo python
    fi
}

# launch PROCESSES SCRIPT [ARGUMENT...]: torchrun on one machine or several.
launch() {
    local processes=$1
    shift
    case $processes in
        '' | *[!0-9]* | 0)
            echo "error: the number of GPUs must be a positive number, not '$processes'" >&2
            exit 2
            ;;
    esac
    exec "$(choose_python)" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node-rank="${NODE_RANK:-0}" \
        --master-addr="${MASTER_ADDR:-127.0.0.1}" \
        --master-port="${PORT:-29500}" \
        --nproc-per-node="$processes" \
        "$@"
}
