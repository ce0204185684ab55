#!/usr/bin/env bash
# Train on a Slurm cluster, one process for each GPU.
#
#     GPUS=4 GPUS_PER_NODE=4 CPUS_PER_TASK=4 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
#
# SRUN_ARGS holds further arguments of srun.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of train.py]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3
shift 3
processes=${GPUS:-4}
per_node=${GPUS_PER_NODE:-$processes}
# shellcheck disable=SC2086
exec srun --partition "$partition" --job-name "$job" \
    --gres "gpu:$per_node" --ntasks "$processes" --ntasks-per-node "$per_node" \
    --cpus-per-task "${CPUS_PER_TASK:-4}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
