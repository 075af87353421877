#!/usr/bin/env bash
# Submit a dataset to SLURM as arrays of jobs: one task a shard, in the container.
#   slurm_array.sh N BIDS_DIR OUTPUT_DIR [options of bids_app]
# N is the number of shards: participants are spread over them by a hash of their labels, so take about half as many
# shards as participants, or fewer. What each task asks for (time, memory) is computed from a dry run; shards with nothing
# left to do are not submitted. The same command, again, does what is left.
# Environment:
#   BIDS_APP_SIF        the image (bids_app.sif)
#   BIDS_APP_GPU        options of sbatch for brain masks on a GPU, such as --gres=gpu:1 (more of them: separated by blanks).
#                       With it there are two arrays: `mask` and `deface` on GPU nodes, then the other steps on any node
#   BIDS_APP_STEPS      steps instead of the default ones
#   BIDS_APP_CPUS       processors of a task (2)
#   BIDS_APP_PRINT      1: say what would be submitted, and submit nothing
#   BIDS_APP_CONTAINER_OPTIONS, TMPDIR   see shard.sh
#   SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_WAIT …   are read by sbatch itself
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "$0" >&2; exit 64; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
count=$1 bids=$(realpath -e "$2")
mkdir -p "$3" && out=$(realpath "$3")
shift 3
cpus=${BIDS_APP_CPUS:-2}
BIDS_APP_SIF=$(realpath -e "${BIDS_APP_SIF:-bids_app.sif}")
runtime=${BIDS_APP_RUNTIME:-$(command -v apptainer || command -v singularity)}
export BIDS_APP_SIF BIDS_APP_RUNTIME=$runtime BIDS_APP_CONTAINER_OPTIONS=${BIDS_APP_CONTAINER_OPTIONS:-}
case " $* " in *" --steps "* | *" --shard "*) echo "slurm_array.sh chooses --steps and --shard itself" >&2; exit 64 ;; esac

in_container() { # shellcheck disable=SC2086
  "$runtime" exec --containall --cleanenv $BIDS_APP_CONTAINER_OPTIONS -B "$bids:/data:ro" -B "$out:/out" -B "$here:/here:ro" \
    "$BIDS_APP_SIF" "$@"
}

# submit DEPENDENCY STEPS OPTIONS_OF_SBATCH OPTIONS_OF_BIDS_APP…: sets `job`, to nothing where nothing is left to do
submit() {
  local after=$1 steps=$2 extra=$3 request memory
  shift 3
  # 1 is no reason to stop: the second block's masks, say, are made by the first, or a session fails and others do not
  # shellcheck disable=SC2086
  request=$({ in_container bids_app /data /out participant --dry-run --json --steps $steps "$@" || [ $? = 1 ]; } |
    in_container python /here/resources.py --shards "$count" --cpus "$cpus")
  if [ -z "$request" ]; then
    job=""
    echo "$steps: nothing is left to do"
    return
  fi
  memory=$(sed 's/.*--mem=\([0-9]*\)G.*/\1/' <<< "$request")
  # shellcheck disable=SC2086
  set -- sbatch --parsable $request $extra ${after:+--dependency=afterany:$after} --output=bids_app-%A_%a.log \
    "$here/slurm_task.sh" "$here/shard.sh" "$count" "$bids" "$out" --nprocs "$cpus" --mem-gb "$memory" --steps $steps "$@"
  echo "$*"
  job=""
  [ "${BIDS_APP_PRINT:-0}" = 1 ] || job=$("$@")
}

steps=${BIDS_APP_STEPS:-$(in_container python -c "from bids_app.settings import DEFAULT_STEPS; print(*DEFAULT_STEPS)")}
job=""
if [ -n "${BIDS_APP_GPU:-}" ]; then
  options=$BIDS_APP_CONTAINER_OPTIONS
  BIDS_APP_CONTAINER_OPTIONS="--nv $options" submit "" "mask deface" "$BIDS_APP_GPU" "$@"
  steps=$(tr ' ' '\n' <<< "$steps" | grep -vE '^(mask|deface)$' | tr '\n' ' ')
fi
# afterany: a series that failed on the GPU nodes must not keep back the others of its shard
submit "$job" "$steps" "" "$@"
[ -z "$job" ] || echo "submitted as job $job"
