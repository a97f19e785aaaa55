"""Which weights answered, and how differently: log-probs and token ids as served, and nothing else. Pure.

A model name says which adapter should have answered. Log-probs say which one did: each token that was served is set
beside the log-probs that two weights give it on the ids that were served.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from harness.seams import Scores

Array = npt.NDArray[np.floating]

# Mean |served - scored| in nats that rounding accounts for where the weights are the same. Between vLLM and the trainer
# it is 5e-8 (micro policy) to 2e-6 (a random one) in float32; in bfloat16 at most .014 over the updates of all_on in
# results/h200_*. One update of the micro policy moves it by .0006 to .0045, another run's adapter by more. In 16 bits
# an adapter within the tolerance passes if it is nearer than the rival.
TOLERANCE_EXACT = 1e-4
TOLERANCE_16_BIT = 0.03
# Weights explain the served log-probs better if that comes by chance in one of so many checks (a sweep makes
# thousands), with the replies as witnesses: tokens of one depend on each other. And over how many tokens at least.
CHANCE = 1 / 30_000
LEAST_TOKENS = 30
EQUAL = 1e-6  # relative: a mean of equal numbers may lie above them by rounding
# Mean |log-prob of trainer - of sampler| at the first gradient step, in nats. The same policy on the same context
# differs by rounding: 1e-6 in float32, in bfloat16 up to .064 between vLLM and ART's trainer. A wrong adapter or a
# context that was not served moves it by hundredths and more.
SAME_POLICY = {"float32": 0.01}
SAME_POLICY_16_BIT = 0.1


def compared(served: Array, answering: Array, rival: Array | None, reply: npt.NDArray[np.integer]) -> Scores:
    """The scores of log-probs, each [tokens]; reply: which one a token belongs to.

    Tokens on which the two weights differ by less than their mean difference are not asked which weights explain them
    better: rounding answers. The choice looks at the two weights alone, so it favours neither.
    """
    gap = np.abs(served - answering)
    if rival is None:
        return Scores(float(gap.mean()), math.nan, math.nan, math.nan, math.nan, len(gap), 0)
    rival_gap, apart = np.abs(served - rival), np.abs(answering - rival)
    telling = apart >= apart.mean() * (1 - EQUAL)
    both = (rival_gap + gap)[telling]
    better = np.divide((rival_gap - gap)[telling], both, out=np.zeros_like(both), where=both > 0)
    return Scores(
        gap=float(gap.mean()),
        rival_gap=float(rival_gap.mean()),
        apart=float(apart.mean()),
        preference=float(better.mean()),
        error=error_of_mean(better, reply[telling]),
        tokens=len(gap),
        replies=len(np.unique(reply[telling])),
    )


def error_of_mean(values: Array, cluster: npt.NDArray[np.integer]) -> float:
    """Standard error of the mean of values that depend on each other within clusters; NaN for one cluster.

    The cluster-robust one with the factor G / (G - 1) for G clusters (Cameron and Miller, 2015, J. Human Resources 50).
    """
    found, place = np.unique(cluster, return_inverse=True)
    if len(found) < 2:
        return math.nan
    sums = np.bincount(place, weights=values - values.mean())
    return float(math.sqrt(len(found) / (len(found) - 1) * float(sums @ sums)) / len(values))


def explained(scores: Scores | None, exact: bool) -> bool | None:
    """Whether the weights that are said to have answered did, as the log-probs have it; None: they cannot tell.

    The gap to the served log-probs must be one that rounding makes. That alone would not tell a step from the next one
    where little was learned, or in 16 bits; so both weights are compared on the same tokens, where rounding falls to
    either side. The same weights under two names are never told apart.
    """
    if scores is None:
        return None
    if not scores.gap <= tolerance(exact):
        return False
    enough = scores.tokens >= LEAST_TOKENS and scores.replies > 1
    clear = enough and abs(scores.preference) > _errors_by_chance(scores.replies) * scores.error
    return scores.preference > 0 if clear else None


def tolerance(exact: bool) -> float:
    """The mean |served - scored| in nats that rounding accounts for."""
    return TOLERANCE_EXACT if exact else TOLERANCE_16_BIT


def _errors_by_chance(replies: int) -> float:
    """Standard errors that so many replies exceed in CHANCE of all checks, to either side: Student's t."""
    from scipy.special import stdtrit  # a quarter of a second that --help need not wait for

    return float(stdtrit(replies - 1, 1 - CHANCE / 2))


def distinct_outputs(group: Iterable[Sequence[tuple[int, ...] | str]]) -> int:
    """1 + the sum of (distinct outputs - 1) over the prompts that several rollouts had; 0 if no two prompts were equal.

    group: rollouts of one task, each as what was said in order: a tuple of token ids where the policy spoke, else a
    text. The rollouts form a tree: they part where a reply of the policy, or what it was answered, differs. A
    stochastic user parts rollouts as well, so only what the policy does at one prompt is counted.
    """
    outputs: dict[tuple[Hashable, ...], list[Hashable]] = defaultdict(list)
    for said in group:
        for place, each in enumerate(said):
            if isinstance(each, tuple):
                outputs[tuple(said[:place])].append(each)
    asked_again = [at_one_prompt for at_one_prompt in outputs.values() if len(at_one_prompt) > 1]
    return 1 + sum(len(set(each)) - 1 for each in asked_again) if asked_again else 0
