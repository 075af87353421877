#!/usr/bin/env bash
#SBATCH --job-name=bids_app
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
# One task of a SLURM array; slurm_array.sh submits it, and it can be submitted by hand:
#   sbatch --array=3,17 singularity/slurm_task.sh PATH/singularity/shard.sh 100 BIDS_DIR OUTPUT_DIR [options of bids_app]
# Two minutes before the time limit, and when the node is wanted by others, SLURM sends TERM: bids_app ends in order, with
# the exit code 75, and the task is put back into the queue, where it goes on with what is left. At most BIDS_APP_REQUEUES
# times (5), so that a task which never gets anywhere does not run for ever.
set -uo pipefail
shard_sh=$1 count=$2
shift 2
echo "bids_app: shard $SLURM_ARRAY_TASK_ID/$count, start ${SLURM_RESTART_COUNT:-0}"
child="" told=""
trap 'told=1; [ -z "$child" ] || kill -TERM "$child" 2> /dev/null' TERM
"$shard_sh" "$SLURM_ARRAY_TASK_ID/$count" "$@" &
child=$!
[ -z "$told" ] || kill -TERM "$child"
code=127
while :; do # a signal ends `wait` before the child has ended
  wait "$child"
  now=$?
  [ "$now" = 127 ] || code=$now # 127: it was waited for already
  [ -n "$told" ] || break
  told=""
done
echo "bids_app: shard $SLURM_ARRAY_TASK_ID/$count ended with $code"
if [ "$code" = 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${BIDS_APP_REQUEUES:-5}" ]; then
  scontrol requeue "$SLURM_JOB_ID" && sleep 60 # SLURM ends this script
fi
exit "$code"
