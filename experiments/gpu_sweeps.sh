#!/usr/bin/env bash
# The sweeps of generated retail tasks on a GPU node (docs/gpu.md sets it up):  experiments/gpu_sweeps.sh tune|sweep
#
# tune    the greedy reward of each candidate on the tuning customers, one after another, and the one nearest to .3
# sweep   leave_one_out with that candidate, on fresh seeds and the verdict's customers; start it again to continue
#
# A candidate is a warm start and a number of requests a task. WARM lists the folders of warm starts that
# `python -m experiments.warm_starts.retail --out FOLDER` made. What is tuned never sees the verdict's customers or seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
RESULTS=${RESULTS:-results}
WARM=${WARM:-"warm under_trained"}
SEEDS=${SEEDS:-11,12,13,14,15,16,17,18}
MORE=${MORE:-}  # further options, such as backend.engines_per_gpu=2
CHOICE=$RESULTS/retail_generated_choice
COMMON=(env=retail_generated "env.unseen_kinds=[move_order]" policy=smollm2_135m train=smollm2 rollout=retail)

apply() { python3 -m experiments.warm_starts.retail --apply "$1"; }

case "${1:-}" in
  tune)
    : > "$CHOICE.candidates"
    for warm in $WARM; do
      apply "$warm"
      for requests in 1 2; do
        name=tune_$(basename "$warm")_$requests
        python3 -m harness "${COMMON[@]}" env.requests=$requests env.customers=tuning env.task_seed=1 seed=100 \
          train.train_tasks=12 train.groups_per_step=2 train.steps=1 validation.every=1 tracking=off \
          results="$RESULTS" sweep="$name" $MORE || { echo "$name did not end; it is no candidate"; continue; }
        reward=$(python3 -c "
import json, pathlib, sys
lines = next(pathlib.Path(sys.argv[1]).glob('runs/*/*/validation.jsonl')).read_text().splitlines()
print(json.loads(lines[0])['reference']['mean'])" "$RESULTS/$name")
        echo "$warm $requests $reward" | tee -a "$CHOICE.candidates"
      done
    done
    python3 -c "
import sys
rows = [line.split() for line in sys.stdin]
print(*min(rows, key=lambda row: abs(float(row[2]) - 0.3))[:2])" < "$CHOICE.candidates" | tee "$CHOICE"
    ;;
  sweep)
    [ -s "$CHOICE" ] || { echo "$CHOICE is not there; run \`$0 tune\` first" >&2; exit 2; }
    read -r warm requests < "$CHOICE"
    apply "$warm"
    # shellcheck disable=SC2086
    python3 -m harness +ablation=leave_one_out seed="$SEEDS" "${COMMON[@]}" env.requests="$requests" \
      "validation.also=[unseen_kinds]" train.train_tasks=240 train.groups_per_step=8 train.steps=10 validation.every=5 \
      tracking=off results="$RESULTS" sweep=retail_generated $MORE
    ;;
  *)
    sed -n '2,8p' "$0" >&2
    exit 2
    ;;
esac
