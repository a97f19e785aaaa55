"""`harness --help`: commands, fixes, ablations and options.

Our fixes say what their levels are; an ablation, and what a user brings, says it in the first comment of its file.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import TextWrapper

from harness.commands import COMMANDS
from harness.designs import DESIGNS, design
from harness.factors import AS_LAUNCHED, NOTE
from harness.fixes import registry
from harness.launch import choices

WIDTH = 118  # columns
FIXES = {
    NOTE: (registry.note, "the note's fixes"),
    AS_LAUNCHED: (registry.as_launched, "the fixes of what was wrong with it"),
}
TEXT = """\
Which fixes make ART's tau-bench RL loop learn? One run, or a sweep of them, for real.

usage: harness [+ablation=NAME] [fix/FACTOR=LEVEL …] [seed=0,1,2] [option=value …]
       harness COMMAND …            `harness COMMAND --help` says what it takes

Commands:
{commands}

The fixes; off is what upstream does, and all are on by default (placebo and signal are no fixes, see below):
{fixes}

Ablations (a sweep each, resumed by the same command):
{ablations}

Examples:
  harness                                      one run, all fixes on
  harness fix/tools=off seed=3                 one run without fix 2
  harness -m fix/tools=off,on seed=0,1         any Hydra multirun
  harness +ablation=all fix/tools=on           half of the factorial
  harness +ablation=leave_one_out plan_only=true
  harness +ablation=leave_one_out train.learning_rate=0.002,0.004,0.008   blocks: every arm at every rate

Options worth knowing (--cfg job prints all of them with their values, --hydra-help Hydra's flags):
  sweep=NAME                 results go to results/NAME
  train.steps=6              updates per run;  train.learning_rate, train.groups_per_step, …
  baseline=note|as_launched  which loop off means: as the note describes it, or as it was launched
  rollout.temperature=0.7    of training rollouts where fix/exploration is on
  env=mock policy=micro      tau2's own tasks need a larger policy: env=retail policy=smollm2_135m (docs/gpu.md);
                             env.task_ids=[…] keeps some, train.train_tasks= as many as are left to train on
  reuse=on|off               find and share stored results;  reuse.audit=0.05 recomputes 5 % of them
  placebo=true controls=true a factor that cannot matter (fix/placebo), and arms that must not learn (fix/signal)
  stats.margin=0.05          an effect that surely lies within ± this reward is none; fixed before the first run
  stats.looks_planned=[4,7,10]   looks after so many seeds, together at 5 %;  stats.looks=open  looks without an end
  tracking=wandb|off         offline without a key (WANDB_API_KEY, or `wandb login`)
  backend.engines=2          engines at once on this machine; null: backend.engines_per_gpu (1) for each GPU
  hydra/launcher=node|ray|slurm   where the engines are: this machine, a Ray cluster, Slurm jobs
  --config-dir FOLDER        further fixes, ablations and options, in the same groups

Exit codes: 0 done, 1 a run failed, 2 wrong input, 3 done but a run is INVALID, 130 stopped by Ctrl-C
            (143 by SIGTERM, 129 by SIGHUP; on a second signal at once). 1 also: a full or read-only disk

Groups that can be chosen:
{groups}
"""


def show(arguments: Sequence[str]) -> int:
    print(text(arguments), end="")
    return 0


def text(arguments: Sequence[str]) -> str:
    """What the user's own folders add, which the arguments name, is in it."""
    groups = choices.groups(choices.folders(arguments))
    ablations = groups.get("ablation", {})
    other = {name: ", ".join(options) for name, options in groups.items() if not name.startswith(("fix/", "ablation"))}
    return TEXT.format(
        commands=_columns((name, command.summary) for name, command in COMMANDS.items()),
        fixes=_columns(_levels(groups)),
        ablations=_columns((f"+ablation={name}", _ablation(file)) for name, file in ablations.items()),
        groups=_columns(other.items()),
    )


def _ablation(file: Path) -> str:
    """What its file says, and how many arms it has: those listed in the file, else the design's."""
    sweeper = choices.keys("ablation", file)
    arms, name = sweeper.get("hydra.sweeper.arms"), sweeper.get("hydra.sweeper.design")
    if arms:
        return f"{choices.note(file)} ({len(arms)} arms)"
    asked = sweeper.get("factors", NOTE)
    if name in DESIGNS and isinstance(asked, str) and asked in FIXES:
        fixes, whose = FIXES[asked]
        return f"{choices.note(file)} ({len(design(name, fixes()))} arms with {whose})"
    return choices.note(file)


def _levels(groups: choices.Groups) -> list[tuple[str, str]]:
    """A line for each level: our fixes in the note's order, then those of the user's folders."""
    declared = {f"fix/{factor.name}": factor.levels for factor in registry.own()}
    names = [name for name in choices.defaults() if name.startswith("fix/")]
    names += [name for name in groups if name.startswith("fix/") and name not in names]
    return [
        (f"{name}={level}", declared.get(name, {}).get(level) or choices.note(file))
        for name in names
        for level, file in groups[name].items()
    ]


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    wide = max((len(left) for left, _ in rows), default=0)
    wrap = TextWrapper(WIDTH, subsequent_indent=" " * (wide + 4), break_long_words=False).fill
    return "\n".join(wrap(f"  {left:{wide}}  {right}") for left, right in rows)
