#!/usr/bin/env bash
# The committed CPU sweeps, policy micro: about five hours on two cores. Each command continues what was stopped.
# A name makes one of them: experiments/cpu_sweeps.sh cpu_all. Afterwards `harness archive results/<sweep>`.
set -euo pipefail
cd "$(dirname "$0")/.."

make() {
    local name=$1
    shift
    [[ -z ${only:-} || $only == "$name" ]] || return 0
    .venv/bin/harness -m "$@" "sweep=$name"
}
only=${1:-}

# what the README's first command makes: its page shows rollouts of training and of the last validation
make cpu_quick_start +ablation=leave_one_out
# what the default rate and steps follow from, by default_steps.py
make defaults seed=100,101,102,103,104 train.learning_rate=7.5e-4,1.5e-3,3e-3 train.steps=48
# each fix off in turn, at three rates
make cpu_leave_one_out +ablation=leave_one_out seed=0,1,2,3,4 train.learning_rate=7.5e-4,1.5e-3,3e-3
# without endpoint until it has settled or collapsed, under both losses
make cpu_losses fix/endpoint=on,off seed=0,1,2,3,4 train.loss=cispo,ppo train.steps=32
# a placebo and three arms that must not learn
make cpu_controls +ablation=leave_one_out 'factors=[tools]' placebo=true controls=true seed=0,1,2,3,4
# every combination; the same question from 19 arms with other seeds; the note's short-term experiments
make cpu_all +ablation=all seed=0,1,2
make cpu_gate_aware +ablation=gate_aware seed=3,4,5
make cpu_short_term +ablation=short_term seed=0,1,2
# the loop as it was launched; what the trainer tokenises
make cpu_as_launched +ablation=as_launched seed=0,1,2
make cpu_tokenisation +ablation=tokenisation seed=0,1,2
# each fix off in turn, with a user that holds facts back
make cpu_withholding +ablation=leave_one_out user=withholding seed=0,1,2
