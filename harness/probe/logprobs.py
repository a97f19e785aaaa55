"""The log-probs that came with the sampled tokens: are they there, are they numbers, are they of this policy?"""

import math
from collections.abc import Iterable

import numpy as np

from harness.answering import LEAST_TOKENS, SAME_POLICY_16_BIT, TOLERANCE_EXACT
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Turn

ROUNDING = 1e-3  # nats by which the log-prob of a token that is certain may be above 0
TEMPERATURES = np.concatenate([np.arange(0.2, 0.96, 0.05), np.arange(1.05, 2.51, 0.05)])
EXPLAINED = 0.5  # share of the gap that another temperature must explain at least
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
    reading = {"gap": gap, "tokens": len(served)}
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


def _at(logprobs: np.ndarray, temperature: float) -> np.ndarray:
    """The log-probs at another temperature, if all other tokens together were one: the rest of the distribution is
    not known, and mostly one rival has nearly all of it."""
    certain = np.minimum(logprobs, -1e-9)
    other = np.log(-np.expm1(certain))
    return np.asarray(certain / temperature - np.logaddexp(certain / temperature, other / temperature))


def _allowed(material: Material) -> float:
    """Nats between sampler and trainer that are rounding."""
    return TOLERANCE_EXACT if material.exact else SAME_POLICY_16_BIT


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


FINDINGS = (logprobs_missing, logprobs_all_zero, trainer_and_sampler_disagree, logprobs_of_another_temperature)
