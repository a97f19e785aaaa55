#!/usr/bin/env bash
# The sweeps of generated retail tasks on a GPU node (docs/gpu.md sets it up):  experiments/gpu_sweeps.sh STAGE [WARM_START]
#
# warm_start  trains a warm start and writes its checkpoint to $POLICIES
# rates       all fixes on at three learning rates, on the tuning customers and a tuning seed
# sweep       leave_one_out at the rate with the highest mean of rates' validations, fresh seeds, the verdict's customers
# other_rates leave_one_out at the two other rates, two seeds
# ppo         without_endpoint and all_on with loss ppo, two seeds
#
# WARM_START is wrong_decisions (its demonstrations decide wrongly at known rates) or under_trained (they do not, and are
# few). Start a stage again to continue it. What is tuned never sees the verdict's customers or seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
RESULTS=${RESULTS:-results}
POLICIES=${POLICIES:-warm_starts}
SEEDS=${SEEDS:-11,12,13,14,15,16}
MORE=${MORE:-}  # further options, such as backend.engines_per_gpu=2

stage=${1:-} warm=${2:-wrong_decisions}
case "$warm" in
  wrong_decisions) how=() rate=3e-4 others=1e-4,1e-3 ;;
  under_trained) how=(--faultless --steps 500) rate=1e-3 others=1e-4,3e-4 ;;
  *) echo "No warm start is called '$warm'. Valid: wrong_decisions, under_trained" >&2; exit 2 ;;
esac

run() {
  # shellcheck disable=SC2086
  python3 -m harness "$@" env=retail_generated env.requests=1 "env.unseen_kinds=[move_order]" \
    policy.path="$POLICIES/smollm2_$warm" policy.tool_parser=hermes train=smollm2 rollout=retail train.steps=12 \
    train.groups_per_step=8 validation.every=4 tracking=off results="$RESULTS" $MORE
}

verdict() { run +ablation=leave_one_out train.train_tasks=240 "validation.also=[unseen_kinds]" "$@"; }

case "$stage" in
  warm_start)
    python3 -m experiments.warm_starts.retail "${how[@]}" --out "$POLICIES/adapter_$warm" \
      --checkpoint "$POLICIES/smollm2_$warm"
    ;;
  rates)
    run -m train.learning_rate=3e-4,1e-3,3e-3 seed=100 env.customers=tuning env.task_seed=1 train.train_tasks=240 \
      sweep="tune_$warm"
    ;;
  sweep) verdict seed="$SEEDS" train.learning_rate=$rate sweep="retail_$warm" ;;
  other_rates) verdict seed=11,12 train.learning_rate=$others sweep="retail_${warm}_rates" ;;
  ppo)
    run -m fix/endpoint=on,off seed=11,12 train.loss=ppo train.learning_rate=$rate train.train_tasks=240 \
      sweep="retail_${warm}_ppo"
    ;;
  *)
    sed -n '2,13p' "$0" >&2
    exit 2
    ;;
esac
