"""What a rollout earns that did not end by itself: it is missing data or another failure, no wrong answer."""

from collections import Counter
from itertools import pairwise

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Message

OFTEN = 0.2  # share of rollouts that are cut, from which their reward decides what is learned
TELL_LEFT = "messages with calls and what tools answered, and `end`"
LEFT, TOOLS = 3, 2  # rollouts that end in a call; tools that are called there


def truncation_counted_as_failure(material: Material) -> Finding:
    """Rollouts that were cut off are trained as failures, or as worse than failures."""
    told = [r for r in material.rollouts if r.reward is not None and (r.end or any(t.finish_reason for t in r.turns))]
    if not told:
        return cannot_tell("nothing says how the rollouts ended", "`end`, or the finish reason of each reply")
    cut = [r.reward for r in told if r.cut and not r.left_out and r.reward is not None]  # overlong ones may be masked
    whole = [r.reward for r in told if not r.cut and r.reward is not None]
    reading = {"rollouts": len(told), "cut": len(cut)}
    if not cut:
        return absent(f"none of {len(told)} rollouts was cut off and trained", **reading)
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


def calls_left_at_the_limit(material: Material) -> Finding:
    """Rollouts end at one number of replies in calls that nothing answers, and say that they ended as others do."""
    told = [r for r in material.rollouts if r.said and r.end and not r.cut and r.error is None]
    pairs = [pair for r in told for pair in pairwise(r.messages)]
    answered = {name for call, after in pairs if after.get("role") == "tool" for name in _called(call)}
    if not answered:
        return cannot_tell("no rollout says how it ended beside calls that were answered", TELL_LEFT)
    # a tool that nothing ever answers ends an episode
    left = [r for r in told if _called(r.messages[-1]) and _called(r.messages[-1]) <= answered]
    whole = Counter(r.end for r in told if not _called(r.messages[-1]))
    lengths, tools = {len(r.said) for r in left}, {name for r in left for name in _called(r.messages[-1])}
    text = f"{len(left)} of {len(told)} rollouts end in calls of {len(tools)} tools that are answered elsewhere"
    reading = {"rollouts": len(told), "left": len(left), "tools": len(tools)}
    limit = max(len(r.said) for r in told)
    as_others = all(whole[end] >= count for end, count in Counter(r.end for r in left).items())
    if len(left) >= LEFT and len(tools) >= TOOLS and lengths == {limit} and as_others:
        return present(f"{text}, each at its reply {limit}, and say {left[0].end}", **reading)
    return absent(text, **reading)


def _called(message: Message) -> set[str]:
    return {str((call.get("function") or call).get("name")) for call in message.get("tool_calls") or ()}


FINDINGS = (truncation_counted_as_failure, exceptions_scored, calls_left_at_the_limit)
