"""What an endpoint does with a few fixed prompts: does the adapter answer, are there log-probs, do tools arrive?"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from harness.probe import contexts_twice, logprobs
from harness.probe.asking import Answer, Endpoint
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout, Turn

PROMPTS = (
    "Name three colours and say why you like them.",
    "Write the first lines of a letter to a neighbour whom you have never met.",
    "A train leaves at 9:40 and takes 85 minutes. When does it arrive, and how do you know?",
    "Please book the small room for Tuesday at noon.",
)
TOOL = {
    "type": "function",
    "function": {
        "name": "book_room",
        "description": "Books a room.",
        "parameters": {"type": "object", "properties": {"room": {"type": "string"}, "day": {"type": "string"}}},
    },
}
COOL, WARM = 0.5, 2.0  # temperatures at which the first token's log-probs are compared
REPEATED = 0.1  # nats by which a log-prob may differ when the same is asked again, as 16 bits round
NOISE = 2.0  # times what asking again changes: answers of two adapters that are no further apart are the same


@dataclass(frozen=True)
class Asked:
    """The answers to PROMPTS. base, again: of the model at temperature 0, twice; adapters: of each, in their order
    bare, equipped: to the last prompt without tools and with them; cool, warm: to the first one at two temperatures"""

    model: str
    base: Sequence[Answer]
    again: Sequence[Answer]
    adapters: Mapping[str, Sequence[Answer]]
    bare: Answer
    equipped: Answer
    cool: Answer
    warm: Answer

    @property
    def material(self) -> Material:
        """The answers as rollouts."""
        answers = [*self.base, *(each for found in self.adapters.values() for each in found)]
        return Material(groups=(tuple(map(_rollout, answers)),))


def ask(endpoint: Endpoint, model: str, adapters: Sequence[str] = (), tools: Sequence[Any] = ()) -> Asked:
    """Asks about 15 short questions. Raises ConfigError, EngineError."""

    def all_of(name: str) -> list[Answer]:
        return [endpoint.ask(name, [{"role": "user", "content": prompt}]) for prompt in PROMPTS]

    first, last = ([{"role": "user", "content": prompt}] for prompt in (PROMPTS[0], PROMPTS[-1]))
    return Asked(
        model=model,
        base=all_of(model),
        again=all_of(model),
        adapters={name: all_of(name) for name in adapters},
        bare=endpoint.ask(model, last, tokens=1),
        equipped=endpoint.ask(model, last, tokens=1, tools=tools or [TOOL]),
        cool=endpoint.ask(model, first, tokens=1, temperature=COOL),
        warm=endpoint.ask(model, first, tokens=1, temperature=WARM),
    )


def examined(asked: Asked) -> list[Finding]:
    return [replace(f(asked), symptom=f.__name__, about=(f.__doc__ or "").strip()) for f in FINDINGS]


def another_model_answers(asked: Asked) -> Finding:
    """The answer says that another model gave it than the one that was asked."""
    pairs = [(asked.model, each) for each in asked.base]
    pairs += [(name, each) for name, found in asked.adapters.items() for each in found]
    other = sorted({f"{name} is answered by {each.model}" for name, each in pairs if each.model not in ("", name)})
    text = f"{len(other)} of {1 + len(asked.adapters)} names are answered under another one"
    return present(text, *other, names=1 + len(asked.adapters), other=len(other)) if other else absent(text)


def adapter_answers_as_base(asked: Asked) -> Finding:
    """An adapter gives the very answers of the base model: it is not applied, or it is empty."""
    if not asked.adapters:
        return cannot_tell("no adapter was asked", "--adapter NAME@STEP")
    gaps = {name: _gap(asked.base, found) for name, found in asked.adapters.items()}
    return _alike(gaps, asked, f"as {asked.model}")


def adapters_answer_alike(asked: Asked) -> Finding:
    """Adapters of different steps give the same answers: one of them answers for all."""
    names = list(asked.adapters)
    if len(names) < 2:
        return cannot_tell("fewer than two adapters were asked", "--adapter NAME@1 --adapter NAME@2")
    gaps = {f"{one} and {two}": _gap(asked.adapters[one], asked.adapters[two]) for one, two in pairwise(names)}
    return _alike(gaps, asked, "alike")


def greedy_answers_differ(asked: Asked) -> Finding:
    """The same question at temperature 0 gets another answer the second time, by more than rounding."""
    gap = _gap(asked.base, asked.again)
    if gap is None:
        return cannot_tell("no log-probs came", "an endpoint that gives log-probs")
    worst = max(_differences(asked.base, asked.again), default=math.inf)
    text = f"asked again, the log-probs of the first tokens differ by {worst:.2g} nats at most"
    return present(text, worst=worst) if worst > REPEATED else absent(text, worst=worst)


def logprobs_missing(asked: Asked) -> Finding:
    """Sampled tokens have no log-prob, or one that is no finite number, so that they cannot be trained."""
    return logprobs.logprobs_missing(asked.material)


def logprobs_all_zero(asked: Asked) -> Finding:
    """Every log-prob is 0.0, as if each token had been certain."""
    return logprobs.logprobs_all_zero(asked.material)


def logprobs_of_another_temperature(asked: Asked) -> Finding:
    """The log-probs change with the temperature that is asked for, so that a trainer at 1.0 takes them for others."""
    shared = [token for token in asked.cool.tops if token in asked.warm.tops]
    if len(shared) < 2:
        return cannot_tell("no two of the most probable tokens came at both temperatures", "top_logprobs")
    cool, warm = (answer.tops[shared[0]] - answer.tops[shared[-1]] for answer in (asked.cool, asked.warm))
    if abs(cool) < 1e-3 and abs(warm) < 1e-3:
        return cannot_tell("the first tokens are equally probable", "another first prompt")
    ratio = cool / warm if warm else math.inf
    text = f"two tokens are {abs(cool):.2g} nats apart at temperature {COOL:g} and {abs(warm):.2g} at {WARM:g}"
    return present(text, ratio=ratio) if ratio > (WARM / COOL) ** 0.5 else absent(text, ratio=ratio)


def tools_ignored(asked: Asked) -> Finding:
    """The prompt does not grow with tools: the chat template does not show them."""
    bare, equipped = asked.bare.prompt_tokens, asked.equipped.prompt_tokens
    if bare is None or equipped is None:
        return cannot_tell("the endpoint does not count prompt tokens", "an endpoint with `usage`")
    text = f"the prompt has {bare} tokens without tools and {equipped} with them"
    reading = {"without": bare, "with": equipped}
    return absent(text, **reading) if equipped > bare else present(text, **reading)


def bos_twice(asked: Asked) -> Finding:
    """A prompt begins with the token for the beginning twice."""
    if any(turn.prompt_ids for turn in asked.material.turns):
        return contexts_twice.bos_twice(asked.material)
    return cannot_tell("the endpoint gives no prompt token ids", "vLLM's return_token_ids")


def _alike(gaps: Mapping[str, float | None], asked: Asked, how: str) -> Finding:
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    if not known:
        return cannot_tell("no log-probs came", "an endpoint that gives log-probs")
    noise = _gap(asked.base, asked.again) or 0.0
    if noise > REPEATED:
        return cannot_tell(f"asking again changes log-probs by {noise:.2g} nats", "an endpoint that repeats itself")
    same = [name for name, gap in known.items() if gap <= NOISE * noise]
    text = f"{len(same)} of {len(known)} answer {how}: " + ", ".join(f"{n} {gap:.2g} nats" for n, gap in known.items())
    text += f" between them on average ({noise:.2g} when the same is asked again)"
    reading = {"alike": len(same), "least_gap": min(known.values()), "noise": noise}
    if not same:
        return absent(text, **reading)
    if all(name.rpartition("@")[2] == "0" for name in same):
        return cannot_tell(f"{text}; before the first update that is right", "an adapter of a later step", **reading)
    return present(text, **reading)


def _gap(one: Sequence[Answer], other: Sequence[Answer]) -> float | None:
    """Mean difference of the log-probs of the tokens up to the first that differs, whose own one is counted by the
    other's list of most probable tokens; None where there are none."""
    found = list(_differences(one, other))
    return sum(found) / len(found) if found else None


def _differences(one: Sequence[Answer], other: Sequence[Answer]) -> Iterator[float]:
    for a, b in zip(one, other, strict=True):
        places = zip(a.tokens, b.tokens, a.logprobs or (), b.logprobs or (), strict=False)
        for n, (s, t, p, q) in enumerate(places):
            if s != t:
                if not n:  # another first token: how much less probable it is to the other
                    yield abs((p or 0.0) - b.tops.get(s, min(b.tops.values(), default=-10.0)))
                break
            if p is not None and q is not None:
                yield abs(p - q)


def _rollout(answer: Answer) -> Rollout:
    turn = Turn(
        prompt_ids=answer.prompt_ids,
        output_ids=answer.output_ids,
        logprobs=answer.logprobs,
        finish_reason=answer.finish_reason,
        model=answer.model,
    )
    message = {"role": "assistant", "content": answer.text}
    return Rollout(messages=(message,), turns=(turn,), said=(0,), keeps=frozenset({"logprobs"}))


FINDINGS: tuple[Callable[[Asked], Finding], ...] = (
    another_model_answers,
    adapter_answers_as_base,
    adapters_answer_alike,
    greedy_answers_differ,
    logprobs_missing,
    logprobs_all_zero,
    logprobs_of_another_temperature,
    tools_ignored,
    bos_twice,
)
