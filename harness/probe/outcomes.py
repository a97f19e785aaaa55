"""What a rollout earns that did not end by itself: it is missing data or another failure, no wrong answer."""

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material

OFTEN = 0.2  # share of rollouts that are cut, from which their reward decides what is learned


def truncation_counted_as_failure(material: Material) -> Finding:
    """Rollouts that were cut off are trained as failures, or as worse than failures."""
    told = [r for r in material.rollouts if r.reward is not None and (r.end or any(t.finish_reason for t in r.turns))]
    if not told:
        return cannot_tell("nothing says how the rollouts ended", "`end`, or the finish reason of each reply")
    cut = [r.reward for r in told if r.cut and r.reward is not None]
    whole = [r.reward for r in told if not r.cut and r.reward is not None]
    reading = {"rollouts": len(told), "cut": len(cut)}
    if not cut:
        return absent(f"none of {len(told)} rollouts was cut off", **reading)
    text = f"{len(cut)} of {len(told)} rollouts were cut off and earn {min(cut):g} to {max(cut):g}"
    if not whole:
        return present(f"{text}: all were", **reading)
    below = sum(reward < min(0.0, *whole) for reward in cut)  # no credit is what a failure earns
    as_failed = sum(reward <= min(whole) for reward in cut)
    text += f", {below} of them less than nothing and than any that ended by itself"
    often = len(cut) >= OFTEN * len(told) and as_failed == len(cut)
    return present(text, **reading, below=below) if below or often else absent(text, **reading, below=below)


def exceptions_scored(material: Material) -> Finding:
    """A rollout in which something was raised has a reward, as if the policy had earned it."""
    scored = [r for r in (*material.rollouts, *material.validation) if r.reward is not None]
    if not scored:
        return cannot_tell("no rollout has a reward", "rollouts with their rewards")
    raised = sum(r.error is not None for r in scored)
    empty = sum(r.error is None and not r.said for r in scored)
    text = f"of {len(scored)} rollouts with a reward {raised} raised and {empty} have no reply of the policy"
    reading = {"rollouts": len(scored), "raised": raised, "empty": empty}
    return present(text, **reading) if raised or empty else absent(text, **reading)


FINDINGS = (truncation_counted_as_failure, exceptions_scored)
