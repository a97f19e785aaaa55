"""The log-probs that came with the sampled tokens: are they there, are they numbers, are they of this policy?"""

import math
from collections.abc import Iterable

import numpy as np

from harness.answering import LEAST_TOKENS, SAME_POLICY_16_BIT, TOLERANCE_EXACT, error_of_mean
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Turn

ROUNDING = 1e-3  # nats by which the log-prob of a token that is certain may be above 0
TEMPERATURES = np.concatenate([np.arange(0.2, 0.96, 0.05), np.arange(1.05, 2.51, 0.05)])
EXPLAINED = 0.5  # share of the gap that another temperature must explain at least
# Mean gap in 16 bits: so much, and so much of the mean surprisal. In the committed GPU sweeps (results/h*, bfloat16,
# all fixes on, 224 steps) it is at most 0.0143 nats, and at most 0.47 of the policy's entropy.
LEAST_16_BIT, PER_NAT = 0.01, 0.5
CERTAIN, CERTAIN_16_BIT = 1e-5, 0.05  # nats below which exactly 0.0 is rounding
FAR = 0.02  # nats that float32 does not make at a token
ZEROS = 5  # tokens
REPLIES = 8
RATIO, RATIO_16_BIT, ERRORS = (
    0.002,
    0.005,
    5.0,
)  # a mean ratio off 1 by less is no matter; and by so many of its standard errors
TELL_KEPT = "trajectories that keep their log-probs (ART: Choice objects; ART's parquet drops them)"
TELL_SCORED = "log-probs of some served replies, computed by the trainer with the current adapter (adapter_logprobs)"


def logprobs_missing(material: Material) -> Finding:
    """Sampled tokens have no log-prob, or one that is no finite number, so that they cannot be trained."""
    replies = [(turn, "logprobs" in r.keeps) for r in material.rollouts for turn in r.turns]
    kept = [turn for turn, keeps in replies if keeps or turn.logprobs is not None]
    if not kept:
        return cannot_tell("the source keeps no log-probs", TELL_KEPT)
    whole = sum(map(_whole, kept))
    reading = {"replies": len(kept), "with_logprobs": whole / len(kept)}
    text = f"{whole} of {len(kept)} replies have a finite log-prob for each sampled token"
    return absent(text, **reading) if whole == len(kept) else present(text, **reading)


def logprobs_all_zero(material: Material) -> Finding:
    """Every log-prob is 0.0, as if each token had been certain."""
    found = [p for turn in material.turns for p in turn.logprobs or () if p is not None]
    zero = sum(p == 0.0 for p in found)
    text = f"{zero} of {len(found)} log-probs are exactly 0.0"
    if len(found) < LEAST_TOKENS:
        return cannot_tell(text, TELL_KEPT, tokens=len(found))
    reading = {"tokens": len(found), "zero": zero / len(found)}
    return present(text, **reading) if zero == len(found) else absent(text, **reading)


def trainer_and_sampler_disagree(material: Material) -> Finding:
    """The trainer gives the sampled tokens other log-probs than those that were served."""
    served, scored = _pairs(material.turns)
    if not len(served):
        return cannot_tell("the trainer's log-probs are not given", TELL_SCORED)
    gap, allowed = float(np.abs(served - scored).mean()), _allowed(material)
    text = f"{gap:.2g} nats between the two on average over {len(served)} tokens (rounding: up to {allowed:g})"
    far = int((np.abs(served - scored) > FAR).sum()) if material.exact else 0
    reading = {"gap": gap, "tokens": len(served), "far": far}
    if far and gap <= allowed:
        return present(f"{text}; {far} of them are more than {FAR:g} off", **reading)
    return absent(text, **reading) if gap <= allowed else present(text, **reading)


def logprobs_of_another_temperature(material: Material) -> Finding:
    """The served log-probs are those of the distribution at another temperature than the trainer's."""
    served, scored = _pairs(material.turns)
    if len(served) < LEAST_TOKENS:
        return cannot_tell(f"{len(served)} tokens have log-probs of the trainer", TELL_SCORED, tokens=len(served))
    gap, allowed = float(np.abs(served - scored).mean()), _allowed(material)
    if gap <= allowed:
        return absent(f"{gap:.2g} nats between trainer and sampler are rounding", gap=gap)
    left = [float(np.abs(served - _at(scored, heat)).mean()) for heat in TEMPERATURES]
    best = int(np.argmin(left))
    reading = {"gap": gap, "temperature": float(TEMPERATURES[best]), "gap_at_temperature": left[best]}
    text = (
        f"at temperature {TEMPERATURES[best]:.2f} of {gap:.2g} nats between trainer and sampler {left[best]:.2g} stay"
    )
    return present(text, **reading) if left[best] < (1 - EXPLAINED) * gap else absent(text, **reading)


def zeros_where_not_certain(material: Material) -> Finding:
    """A log-prob is exactly 0.0 at tokens of which the trainer is not certain: padded, or of what top-p left over."""
    served, scored = _pairs(material.turns)
    if len(served) < LEAST_TOKENS:
        return cannot_tell(f"{len(served)} tokens have log-probs of the trainer", TELL_SCORED, tokens=len(served))
    uncertain = scored < -(CERTAIN if material.exact else CERTAIN_16_BIT)
    odd = int(((served == 0.0) & uncertain).sum())
    text = f"{odd} of {int(uncertain.sum())} tokens that the trainer is not certain of were served with exactly 0.0"
    reading = {"tokens": len(served), "odd": odd}
    return present(text, **reading) if odd >= ZEROS else absent(text, **reading)


def importance_ratios_off_1(material: Material) -> Finding:
    """The tokens were not sampled with the probabilities that were served: importance ratios do not average 1."""
    # The mean of p / q over tokens drawn from q is 1, whatever p is. Rounding and a policy that moved on leave that as
    # it is; log-probs of another distribution than that which was sampled from do not.
    scored = [t for t in material.turns if t.logprobs and t.adapter_logprobs]
    pairs = [(n, *both) for n, t in enumerate(scored) for both in zip(*_pairs([t]), strict=True)]
    replies = len({n for n, _, _ in pairs})
    if replies < REPLIES or len(pairs) < LEAST_TOKENS:
        return cannot_tell(f"{replies} replies have log-probs of the trainer", TELL_SCORED, replies=replies)
    number, served, own = (np.array(values) for values in zip(*pairs, strict=True))
    gap, allowed = float(np.abs(served - own).mean()), _allowed(material)
    if gap > allowed:
        return cannot_tell("trainer and sampler differ by more than rounding", "trainer_and_sampler_disagree", gap=gap)
    off = np.exp(own - served) - 1
    mean, error = float(off.mean()), error_of_mean(off, number)
    reading = {"mean": mean, "error": error, "replies": replies}
    text = f"importance ratios average {1 + mean:.4f} ± {error:.1g} over {len(pairs)} tokens"
    if abs(mean) > (RATIO if material.exact else RATIO_16_BIT) and abs(mean) > ERRORS * error:
        return present(text, **reading)
    return absent(text, **reading)


def temperature_changes(material: Material) -> Finding:
    """The replies of one rollout were asked for at several temperatures, or those of some groups and not of others."""
    told = [found for r in material.rollouts if (found := _heats(r.turns))]
    if not told:
        return cannot_tell("no reply says its temperature", "the temperature that each request carries")
    several = sum(len(each) > 1 for each in told)
    ladders = {frozenset(_heats(t for r in group for t in r.turns)) for group in material.groups}
    mixed = 0 if len(ladders) == 1 else sum(len(each) > 1 for each in ladders)  # alike in all groups: on purpose
    text = f"{several} of {len(told)} rollouts have replies of several temperatures, and {mixed} kinds of groups"
    reading = {"rollouts": len(told), "several": several, "mixed": mixed}
    return present(text, **reading) if several or mixed else absent(text, **reading)


def _heats(turns: Iterable[Turn]) -> set[float]:
    return {turn.temperature for turn in turns if turn.temperature is not None}


def _at(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    """The log-probs at another temperature, if all other tokens together were one: the rest of the distribution is
    not known, and mostly one rival has nearly all of it."""
    certain = np.minimum(logprobs, -1e-9)
    other = np.log(-np.expm1(certain))
    return np.asarray(certain / temperature - np.logaddexp(certain / temperature, other / temperature))


def disagree(material: Material) -> bool:
    """Whether trainer and sampler are known to differ by more than rounding: then nothing rests on these log-probs."""
    served, scored = _pairs(material.turns)
    return bool(len(served)) and float(np.abs(served - scored).mean()) > _allowed(material)


def _allowed(material: Material) -> float:
    """Nats between sampler and trainer that are rounding. In 16 bits a token's log-prob is off by about
    (1 - p) × the error of its logits: a policy that is nearly certain has less of it."""
    if material.exact:
        return TOLERANCE_EXACT
    _, scored = _pairs(material.turns)
    surprisal = float(-scored.mean()) if len(scored) else math.inf
    return min(SAME_POLICY_16_BIT, LEAST_16_BIT + PER_NAT * surprisal)


def _whole(turn: Turn) -> bool:
    found = turn.logprobs
    if not found or (turn.output_ids is not None and len(found) != len(turn.output_ids)):
        return False
    return all(p is not None and math.isfinite(p) and p <= ROUNDING for p in found)


def _pairs(turns: Iterable[Turn]) -> tuple[np.ndarray, np.ndarray]:
    both = [(t.logprobs, t.adapter_logprobs) for t in turns if t.logprobs and t.adapter_logprobs]
    pairs = [
        (p, q)
        for served, scored in both
        if len(served) == len(scored)
        for p, q in zip(served, scored, strict=True)
        if p is not None and q is not None and math.isfinite(p) and math.isfinite(q)
    ]
    one, other = np.array(pairs).reshape(-1, 2).T
    return one, other


FINDINGS = (
    logprobs_missing,
    logprobs_all_zero,
    trainer_and_sampler_disagree,
    logprobs_of_another_temperature,
    zeros_where_not_certain,
    importance_ratios_off_1,
    temperature_changes,
)
