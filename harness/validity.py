"""From manipulation checks to a verdict on a run: valid, or INVALID with the measurement that shows it. Beside it stand
findings: what a reader must know and what is no fault, a switch among it that nothing could show."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.answering import SAME_POLICY, SAME_POLICY_16_BIT
from harness.factors import ON
from harness.records.schema import not_shown
from harness.seams import Check, Seams


def invalid_factors(checks: Iterable[Check], seams: Seams) -> list[dict[str, str]]:
    """The factors whose switch did not take effect, each with what was measured.

    A level that needs `always` is refuted by one check that failed; one that needs `ever` by having been
    judged and never held, or by one step that refutes it alone. A check that could not tell (None) decides nothing.
    """
    checks = list(checks)
    out = []
    for strategy in seams.all():
        judged = [
            (n, c) for n, c in enumerate(checks) if c.factor == strategy.factor.name and c.took_effect is not None
        ]
        failed = [c for _, c in judged if not c.took_effect]
        alone = [c for c in failed if c.refuted]
        if not failed or (strategy.needs == "ever" and len(failed) < len(judged) and not alone):
            continue
        out.append({"factor": strategy.factor.name, "reading": f"{strategy.level}: {(alone or failed)[0].text}"})
    return out


def findings(steps: Iterable[Mapping[str, Any]], seams: Seams, dtype: str) -> list[str]:
    """What a reader must know of a run that is no fault of the run: an inert arm is a finding.

    dtype: of the policy's weights, as it is served
    """
    steps = list(steps)
    out = []
    allowed = SAME_POLICY.get(dtype, SAME_POLICY_16_BIT)
    if not any(s.level in s.factor.apart for s in seams.all()):
        apart = [s["step"] for s in steps if (s["logprob_gap"] or 0.0) > allowed]
        if apart:
            out.append(f"trainer and sampler disagree on the policy at steps {', '.join(map(str, apart))}")
    rendered = [s["step"] for s in steps if s.get("rendered_apart")]
    if rendered:
        out.append(
            "ART renders more of a prompt than the tools in another way than the server, so that what was trained is "
            f"not what was served, at steps {', '.join(map(str, rendered))}"
        )
    inert = [s["step"] for s in steps if s["advanced_without_training"]]
    if inert and len(inert) == len(steps):
        out.append("inert: every step advanced without training")
    elif inert:
        out.append(f"steps {', '.join(map(str, inert))} advanced without training")
    missing = sum(s["missing"] for s in steps)
    if missing:
        out.append(f"{missing} rollouts are missing after retries")
    return out


def ended_early(steps: int, planned: int) -> list[str]:
    """Of a run that completed with fewer steps than planned: its own validation has ended it, before the first."""
    if steps >= planned:
        return []
    return [f"its own validation raised at step {steps}, as upstream's on airline; nothing was trained after it"]


def unjudged(checks: Iterable[Check], compared: Collection[str]) -> list[str]:
    """The factors whose checks never could tell, alone or together: neither valid by default nor INVALID, and said of
    the run. Of one that the sweep does not compare, only where it is not on."""
    asked = (check for check in checks if check.factor in compared or check.level != ON)
    return [
        f"{factor}: not shown: neither a step nor all together could judge its switch" for factor in not_shown(asked)
    ]


def unequal_starts(starts: Mapping[str, Mapping[str, float | None]]) -> dict[str, str]:
    """Runs of one seed whose step-0 reference validation is not that of most runs, with the difference.

    Before the first update every arm is the same policy, so a difference means that the engine answered
    somebody with another adapter. starts: rewards by task, per run; missing episodes are not compared.
    """
    readings: dict[str, Counter[float]] = defaultdict(Counter)
    for rewards in starts.values():
        for task, reward in rewards.items():
            if reward is not None:
                readings[task][reward] += 1
    usual = {task: counts.most_common(1)[0][0] for task, counts in readings.items()}
    out: dict[str, str] = {}
    for run, rewards in starts.items():
        differ = sorted(t for t, r in rewards.items() if r is not None and r != usual[t])
        if differ:
            out[run] = f"step-0 reference validation differs from the other arms on {', '.join(differ[:5])}"
    return out
