#!/usr/bin/env bash
# The sweeps of generated retail tasks on a GPU node (docs/gpu.md sets it up):  experiments/gpu_sweeps.sh STAGE [WARM_START]
#
# warm_start  trains a warm start and writes its checkpoint to $POLICIES
# kinds       prints the kinds of request that the warm start has room to learn, on the tuning customers
# rates       prints which of three learning rates is best with all fixes on, on the tuning customers and a tuning seed
# sweep       leave_one_out at that rate, fresh seeds, the verdict's customers
# other_rates leave_one_out at the two other rates, two seeds
# ppo         without_endpoint and all_on with loss ppo, two seeds
# factorial   the note's six fixes, every combination, one seed
# launched    the loop as it was launched, and what then remains to switch, two seeds
# tokenised   tools, toolcalls and toolorder, every combination, two seeds
#
# WARM_START is wrong_decisions (its demonstrations decide wrongly at known rates) or under_trained (they do not, and are
# few). Start a stage again to continue it. What is tuned never sees the verdict's customers or seeds.
# KINDS=a,b: the stages but warm_start and kinds have requests of these kinds alone, tasks and seeds that no other sweep
# had, and `_kinds` in their names. RATE: another rate than the one that was best on all kinds.
set -euo pipefail
cd "$(dirname "$0")/.."
RESULTS=${RESULTS:-results}
POLICIES=${POLICIES:-warm_starts}
KINDS=${KINDS:-}
MORE=${MORE:-}  # further options, such as backend.engines_per_gpu=2

stage=${1:-} warm=${2:-wrong_decisions}
case "$warm" in
  wrong_decisions) how=() rate=3e-4 others=1e-4,1e-3 ;;
  under_trained) how=(--faultless --steps 500) rate=1e-3 others=1e-4,3e-4 ;;
  *) echo "No warm start is called '$warm'. Valid: wrong_decisions, under_trained" >&2; exit 2 ;;
esac

if [ -n "$KINDS" ]; then
  seeds=21,22,23,24,25,26 two=21,22 one=27 fresh=28,29 name="retail_${warm}_kinds"
  kinds=("env.kinds=[$KINDS]") tasks=(env.task_seed=3) tuned=1e-4,3e-4,1e-3 tuning="${warm}_kinds"
else
  seeds=11,12,13,14,15,16 two=11,12 one=17 fresh=18,19 name="retail_$warm"
  kinds=() tasks=() tuned=3e-4,1e-3,3e-3 tuning=$warm
fi
rate=${RATE:-$rate}
SEEDS=${SEEDS:-$seeds}
steps=12 every=4

run() {
  # shellcheck disable=SC2086
  python3 -m harness "$@" env=retail_generated env.requests=1 "env.unseen_kinds=[move_order]" \
    policy.path="$POLICIES/smollm2_$warm" policy.tool_parser=hermes train=smollm2 rollout=retail train.steps=$steps \
    train.groups_per_step=8 validation.every=$every tracking=off results="$RESULTS" $MORE
}

verdict() { run "$@" train.train_tasks=240 "${kinds[@]}" "${tasks[@]}"; }
leave_one_out() { verdict +ablation=leave_one_out "validation.also=[unseen_kinds]" "$@"; }

case "$stage" in
  warm_start)
    python3 -m experiments.warm_starts.retail "${how[@]}" --out "$POLICIES/adapter_$warm" \
      --checkpoint "$POLICIES/smollm2_$warm"
    ;;
  rates)
    run -m train.learning_rate=$tuned seed=100 "${kinds[@]}" env.customers=tuning env.task_seed=1 \
      train.train_tasks=240 sweep="tune_$tuning" >&2
    python3 -m experiments.best_rate "$RESULTS/tune_$tuning"
    ;;
  kinds)
    # without log-probs nothing is trained, so one validation is all that is played
    steps=1 every=1
    run fix/logprobs=off seed=100 env.customers=tuning env.task_seed=2 env.validation_tasks=120 validation.samples=6 \
      validation.sample_temperature=0.7 train.train_tasks=240 sweep="kinds_$warm" >&2
    python3 -m experiments.room_to_learn "$RESULTS/kinds_$warm"
    ;;
  sweep) leave_one_out seed="$SEEDS" train.learning_rate=$rate sweep="$name" ;;
  other_rates) leave_one_out seed=$two train.learning_rate=$others sweep="${name}_rates" ;;
  ppo) verdict -m fix/endpoint=on,off seed=$two train.loss=ppo train.learning_rate=$rate sweep="${name}_ppo" ;;
  factorial) verdict +ablation=all seed=$one train.learning_rate=$rate sweep="${name}_all" ;;
  launched) verdict +ablation=as_launched seed=$fresh train.learning_rate=$rate sweep="${name}_as_launched" ;;
  tokenised) verdict +ablation=tokenisation seed=$fresh train.learning_rate=$rate sweep="${name}_tokenisation" ;;
  *)
    sed -n '2,18p' "$0" >&2
    exit 2
    ;;
esac
