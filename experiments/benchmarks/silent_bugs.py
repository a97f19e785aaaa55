"""Does the probe name silent bugs, and leave sound runs alone?

    PYTHONPATH=. .venv/bin/python experiments/benchmarks/silent_bugs.py --out results

Each bug of planted_bugs.py is planted alone into some recorded runs (record_rollouts.py), and `harness.probe.check` is
asked after each step for all steps so far. All recorded runs are asked as they are, some with harmless oddities as
well. Beside it stand the usual metrics, each an alarm outside of what it was in the sound runs, at the same step: so
they have no false alarm by construction.

The bugs of planted_bugs.py were written by who wrote the probe: that they are named is no measure of how many others
would be. Those of the four files of others were written by somebody who had not read it; they have tables of their own.
"""

import argparse
import json
import lzma
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import bugs_of_others, fourth_bugs_of_others, further_bugs_of_others, third_bugs_of_others
from experiments.benchmarks.planted_bugs import (
    BUGS,
    ODDITIES,
    WORDS,
    Bug,
    Plant,
    Step,
    as_it_is,
    planted,
    rollouts,
    rounded_to_16_bits,
    runs_of,
    scored,
)
from experiments.benchmarks.record_rollouts import SMALL
from harness.config import typed
from harness.env import Environment, load_environment
from harness.launch.one_run import untyped
from harness.launch.probe_reference import declared_by
from harness.policy import MICRO
from harness.probe import Declared, Replay, check
from harness.probe.rendering import render_of, template_of

References = Callable[[Sequence[Step]], dict[str, Any]]  # further arguments of `check` for some steps of a run
WITH_METRICS = ("as_it_is", "some_rollouts_missing", "rounded_to_16_bits")  # oddities that have all of the metrics
TEMPLATE = render_of(template_of(MICRO), WORDS)
RECORDED = Path("results/probe_rollouts.jsonl.xz")
HEAD = """# Silent bugs, planted into recorded rollouts{in_16_bits}

`PYTHONPATH=. .venv/bin/python experiments/benchmarks/silent_bugs.py --out results{options}`; the rollouts are those of
`experiments/benchmarks/record_rollouts.py`: policy micro{dtype}, all fixes on, {runs} runs of two steps of six groups
of six. {given}
The bugs of the first table were written by who wrote the probe: it shows that the probe works, not how many bugs of
others it would name. What is known of that stands above the last table.
"""
GIVEN = """The probe is given the environment and the declaration of each run, made anew from its options, and the chat
template."""
OTHERS = """## Bugs by somebody who had not read the probe

`experiments/benchmarks/bugs_of_others.py`. The symptoms that count were chosen before the probe was asked, of those
that count in the first table; "none known" is a bug for which that table has none. An alarm is any symptom,
right or wrong. In 16 bits: the trainer's log-probs are 0.01 nats off at each token, as by rounding, and the probe is
told that nothing is exact. "Since" are symptoms that were written after the probe had missed bugs of this list: with
them the list is a test of what was written, and no measure of how many others would be named.
"""
FURTHER = """## Further bugs by somebody who had not read the probe

`experiments/benchmarks/further_bugs_of_others.py`: twelve bugs that were written when the probe had the symptoms of
406ef22, without a look at it. It named 6. The symptoms that count were chosen from docs/probe.md before the probe was
asked; those "since" were written by somebody who knew these bugs, and the probe is now told what each step validates
and how many rollouts a group is asked for. So this table is no measure of reach either.
"""
THIRD = """## Twelve bugs that a frozen probe was measured with

`experiments/benchmarks/third_bugs_of_others.py`: written by somebody who had not read the probe, while 6c5a9a0 was
being made by somebody who did not know these bugs; of its symptoms they had seen the older ones' names. The symptoms
that count were chosen from docs/probe.md, and committed, before the probe was asked. **6c5a9a0 named 7 of the 12, and 6
in 16 bits.** Symptoms "since" were written by somebody who knew these bugs, and the probe is now told how often each
rollout is to be trained on: what is counted with them is no measure of reach.
"""
FOURTH = """## Twelve bugs that a probe with exact references was measured with

`experiments/benchmarks/fourth_bugs_of_others.py`: written by somebody who had not read the probe, while 8cbdda4 was
being made by somebody who did not know these bugs. The symptoms that count were chosen from docs/probe.md, and
committed, before the probe was asked. **8cbdda4 named 11 of the 12, and 9 in 16 bits**; by the rollouts alone, without
environment, declaration and template, 6 and 4. Its references were reviewed since, for false alarms in other loops.
"""
FOOT = """Usual metrics: mean reward, gradient norm, entropy (mean surprisal), KL (k3) between sampler and trainer, the
correlation of their probabilities, effective sample size; how many runs had an alarm. Not computed: the bug changes
what the trainer computes, and the recording does not have that."""


@cache
def environment() -> Environment:
    """That of the recorded runs, made anew from their options."""
    return load_environment(typed(untyped([*SMALL, "seed=0"])).env.source)


@cache
def replay() -> Replay:
    return Replay(environment())


@cache
def declared(run: str) -> Declared:
    """What a recorded run was declared to do, from its options: of the record its name alone is read, for its seed."""
    options = untyped([*SMALL, "train.steps=2", f"seed={run.rpartition('seed')[2]}"])
    options.factors = [str(name) for name in options.fix if options.fix[name] is not None]
    return declared_by(typed(options).runs[0], environment(), "hermes")


def references(steps: Sequence[Step]) -> dict[str, Any]:
    """What the rollouts of a run are held against, beside each other."""
    played = all(step.get("played", True) for step in steps)
    return {
        "environment": replay() if played else None,
        "declared": declared(steps[0]["run"]),
        "template": TEMPLATE,
    }


def nothing(_: Sequence[Step]) -> dict[str, Any]:
    return {}


def named(shared: Step, steps: Sequence[Step], given: References = references) -> set[str]:
    """The symptoms that are present."""
    groups = [
        [r | {"step": step["step"], "tools": shared["tools"], "sent_tools": shared["tools"]} for r in group]
        for step in steps
        for group in step["groups"]
    ]
    found = check(
        groups,
        updates=[step["update"] for step in steps],
        train_tasks={step["step"]: step["train_tasks"] for step in steps},
        validation_tasks={step["step"]: step["validation_tasks"] for step in steps},
        **given(steps),
        known_tasks=shared["known_tasks"],
        tokenizer=WORDS,
        exact=all(step.get("exact", True) for step in steps),
    )
    return {each.symptom for each in found if each.verdict == "present"}


def first_named(
    shared: Step, steps: list[Step], wanted: Sequence[str], given: References = references
) -> tuple[int | None, int | None, set[str]]:
    """How many steps it took until one of the symptoms was present; until any was; all that were present at the end."""
    seen = [named(shared, steps[: n + 1], given) for n in range(len(steps))]
    right = next((n + 1 for n, found in enumerate(seen) if found & set(wanted)), None)
    return right, next((n + 1 for n, found in enumerate(seen) if found), None), seen[-1]


def metrics(step: Step) -> dict[str, float]:
    """What loops usually show of a step; NaN where it cannot be computed."""
    rewards = [r["reward"] for r in rollouts([step])]
    pairs = [
        (p, q)
        for turn in scored([step])
        for p, q in zip(turn["logprobs"] or (), turn["adapter_logprobs"], strict=False)
        if math.isfinite(p)
    ]
    out = {"reward": float(np.mean(rewards)), "grad norm": float(step["update"]["grad_norm"])}
    if not pairs:
        return out | dict.fromkeys(("entropy", "KL", "probs_corr", "ESS"), math.nan)
    served, own = np.array(pairs).T
    ratio = np.exp(own - served)
    with np.errstate(invalid="ignore", divide="ignore"):
        corr = np.corrcoef(np.exp(served), np.exp(own))[0, 1]
    return out | {
        "entropy": float(-served.mean()),
        "KL": float(np.mean(ratio - 1 - (own - served))),
        "probs_corr": float(corr),
        "ESS": float(ratio.sum() ** 2 / (ratio**2).sum() / len(ratio)),
    }


def bounds(sound: Sequence[Sequence[Step]]) -> dict[tuple[int, str], tuple[float, float]]:
    """Least and greatest value of each metric in sound runs, by step."""
    values: dict[tuple[int, str], list[float]] = {}
    for steps in sound:
        for step in steps:
            for name, value in metrics(step).items():
                if math.isfinite(value):
                    values.setdefault((step["step"], name), []).append(value)
    return {key: (min(found), max(found)) for key, found in values.items()}


def alarms(steps: Sequence[Step], allowed: dict[tuple[int, str], tuple[float, float]]) -> set[str]:
    out = set()
    for step in steps:
        for name, value in metrics(step).items():
            low, high = allowed.get((step["step"], name), (-math.inf, math.inf))
            if not low <= value <= high:  # so that NaN is one
                out.add(name)
    return out


def measured(
    shared: Step, runs: dict[str, list[Step]], planted_runs: int, given: References = references
) -> dict[str, Any]:
    def with_it(plant: Plant, count: int | None = planted_runs) -> list[list[Step]]:
        return [planted(steps, plant, run) for run, steps in list(runs.items())[:count]]

    sound = {oddity.__name__: with_it(oddity) for oddity in ODDITIES} | {"as_it_is": with_it(as_it_is, None)}
    false = {name: [sorted(named(shared, steps, given)) for steps in each] for name, each in sound.items()}
    # not of log-probs that are not there
    allowed = bounds([steps for name in WITH_METRICS for steps in sound[name]])

    def row(bug: Bug) -> dict[str, Any]:
        many, counts = with_it(bug.plant), (*bug.named, *bug.since)
        found = [first_named(shared, steps, counts, given) for steps in many]
        rounded = [planted(steps, rounded_to_16_bits, run) for run, steps in zip(runs, many, strict=False)]
        usual = Counter(name for steps in many for name in alarms(steps, allowed))
        return {
            "bug": bug.name,
            "symptoms": bug.named,
            "since": bug.since,
            "runs": len(many),
            "named": sum(n is not None for n, _, _ in found),
            "within_two": sum(n is not None and n <= 2 for n, _, _ in found),
            "alarm_within_two": sum(n is not None and n <= 2 for _, n, _ in found),
            "within_two_in_16_bits": sum(bool(named(shared, steps[:2], given) & set(counts)) for steps in rounded),
            "steps": sorted(n for n, _, _ in found if n is not None),
            "present": dict(sorted(Counter(s for _, _, present in found for s in present).items())),
            "usual": None if bug.trainer else dict(usual),
        }

    return {
        "bugs": [row(bug) for bug in BUGS],
        "others": [row(bug) for bug in bugs_of_others.BUGS],
        "further": [row(bug) for bug in further_bugs_of_others.BUGS],
        "third": [row(bug) for bug in third_bugs_of_others.BUGS],
        "fourth": [row(bug) for bug in fourth_bugs_of_others.BUGS],
        "sound": false,
        "references": given is references,
        "exact": all(step.get("exact", True) for steps in runs.values() for step in steps),
    }


def table(found: dict[str, Any]) -> str:
    rows, sound = found["bugs"], dict(found["sound"])
    most = sum(2 * row["within_two"] > row["runs"] for row in rows)
    as_recorded = sound.pop("as_it_is")
    false, odd = sum(map(bool, as_recorded)), [symptoms for runs in sound.values() for symptoms in runs]
    rule = f" (95 %: of at most {min(3 / len(as_recorded), 1):.0%} of such runs)" if not false else ""
    lines = [_head(found, len(as_recorded))]
    lines += [f"- {most} of {len(rows)} bugs are named within two steps in most runs."]
    lines += [f"- {sum(not row['symptoms'] for row in rows)} of them leaves no trace in rollouts."]
    lines += [f"- {false} of {len(as_recorded)} sound runs have a symptom{rule}."]
    lines += [f"- {sum(map(bool, odd))} of {len(odd)} have one with harmless oddities, each on the same runs:"]
    lines += [f"  {', '.join(name.replace('_', ' ') for name in sound)}.", ""]
    lines += ["| bug | named | within two steps | symptoms that count | also present | usual metrics with an alarm |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        counts = f"{row['named']} of {row['runs']} | {row['within_two']}"
        also = [symptom for symptom in row["present"] if symptom not in row["symptoms"]]
        lines.append(f"| {row['bug']} | {counts} | {_names(row['symptoms'])} | {_names(also)} | {_usual(row)} |")
    for name, head in (("others", OTHERS), ("further", FURTHER), ("third", THIRD), ("fourth", FOURTH)):
        lines += ["", *table_of_others(found[name], head)]
    return "\n".join([*lines, "", FOOT]) + "\n"


def _head(found: dict[str, Any], runs: int) -> str:
    given = GIVEN if found["references"] else "The probe is given no environment, declaration or template."
    if found["exact"]:
        return HEAD.format(in_16_bits="", options="", dtype="", runs=runs, given=given)
    options = " \\\n--recorded results/probe_rollouts_bfloat16.jsonl.xz --name silent_bugs_bfloat16"
    return HEAD.format(in_16_bits=", in bfloat16", options=options, dtype=" in bfloat16", runs=runs, given=given)


def table_of_others(rows: Sequence[dict[str, Any]], head: str) -> list[str]:
    most = [row for row in rows if 2 * row["within_two"] > row["runs"]]
    alarmed = [row for row in rows if 2 * row["alarm_within_two"] > row["runs"]]
    known = sum(bool(row["symptoms"]) for row in rows)
    since = sum(bool(set(row["present"]) & set(row["since"])) for row in most)
    written = f", {since} of them by a symptom that was written since" if since else ""
    lines = [head, f"- {len(most)} of {len(rows)} are named within two steps in most runs{written}."]
    lines += [f"- {known} had a symptom that counts when they were written."]
    rounded = sum(2 * row["within_two_in_16_bits"] > row["runs"] for row in rows)
    lines += [f"- {len(alarmed)} of {len(rows)} raise an alarm within two steps in most runs."]
    lines += [f"- {rounded} of {len(rows)} are named where sampler and trainer round to 16 bits.", ""]
    lines += [
        "| bug | named within two steps | in 16 bits | alarm | symptoms that count | present, runs | usual metrics |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        present = ", ".join(f"`{symptom}` {count}" for symptom, count in row["present"].items()) or "–"
        exact, rough, any_symptom = row["within_two"], row["within_two_in_16_bits"], row["alarm_within_two"]
        counts = f"{exact} of {row['runs']} | {rough} | {any_symptom}"
        wanted = _names(row["symptoms"]) if row["symptoms"] else "none known"
        wanted += f"; since: {_names(row['since'])}" if row["since"] else ""
        lines.append(f"| {row['bug']} | {counts} | {wanted} | {present} | {_usual(row)} |")
    return lines


def _usual(row: dict[str, Any]) -> str:
    usual = row["usual"]
    return "not computed" if usual is None else ", ".join(f"{n} {c}" for n, c in sorted(usual.items())) or "none"


def _names(symptoms: Sequence[str]) -> str:
    return ", ".join(f"`{symptom}`" for symptom in symptoms) or "–"


def load(path: Path) -> tuple[Step, dict[str, list[Step]]]:
    with lzma.open(path, "rt") as file:
        shared, *lines = map(json.loads, file)
    return shared, runs_of(lines)


def main(write: Callable[[str], Any] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--runs", type=int, default=12, help="into which bugs and oddities are planted")
    parser.add_argument("--sound", type=int, help="that are asked as they are; all, unless it is given")
    parser.add_argument("--without-references", action="store_true", help="no environment, declaration or template")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="silent_bugs", help="of the files there")
    options = parser.parse_args()
    shared, runs = load(options.recorded)
    given = nothing if options.without_references else references
    found = measured(shared, dict(list(runs.items())[: options.sound]), options.runs, given)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.out / f"{options.name}.md").write_text(table(found), encoding="utf-8")
    write(table(found))


if __name__ == "__main__":
    main()
