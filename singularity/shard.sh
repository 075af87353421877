#!/usr/bin/env bash
# Process one shard of a dataset in the container. For any scheduler: each task of an array calls it with its number.
#   shard.sh I/N BIDS_DIR OUTPUT_DIR [options of bids_app]
# Environment:
#   BIDS_APP_SIF                 the image (bids_app.sif)
#   BIDS_APP_CONTAINER_OPTIONS   more options of `apptainer run`, such as --nv, or -B FOLDER for files that options name
#   BIDS_APP_RUNTIME             apptainer or singularity
#   TMPDIR                       a local disk for the work folder, which holds images with faces: it is removed at the end
# A signal to end (TERM, INT) is passed on, and the exit code is bids_app's own: 75 says that the same call goes on.
set -uo pipefail
[ $# -ge 3 ] || { echo "shard.sh I/N BIDS_DIR OUTPUT_DIR [options of bids_app]" >&2; exit 64; }
shard=$1 bids=$(realpath -e "$2") || exit 66
mkdir -p "$3" && out=$(realpath "$3") || exit 73
shift 3
sif=${BIDS_APP_SIF:-bids_app.sif}
runtime=${BIDS_APP_RUNTIME:-$(command -v apptainer || command -v singularity)} || { echo "no apptainer here" >&2; exit 66; }

work=$(mktemp -d "${TMPDIR:-/tmp}/bids_app-shard-XXXXXX") || exit 73
trap 'rm -rf "$work"' EXIT
child="" told=""
trap 'told=1; [ -z "$child" ] || kill -TERM "$child" 2> /dev/null' TERM INT
# shellcheck disable=SC2086  # the options are words
"$runtime" run --containall --cleanenv ${BIDS_APP_CONTAINER_OPTIONS:-} -B "$bids:/data:ro" -B "$out:/out" -B "$work:/work" \
  "$sif" /data /out participant --shard "$shard" -w /work "$@" &
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
exit "$code"
