"""Rollouts as a reader meets them: arms with the same rollout share one, and what was trained stands beside what was
served.

A rollout's place is its block, seed, step, task and number. There every arm met the same task and the same luck.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from harness.records.load import RecordedRun, SweepRecords
from harness.records.schema import TRAINING, VALIDATION, Record
from harness.report import formats

ENDS = {
    "user_stop": "the user ended the conversation",
    "done": "a tool ended the conversation",
    "turn_limit": "it reached the limit of turns",
    "prompt_limit": "the prompt passed its limit",
    "length": "the context was full, or a reply was cut",
}
NOT_TRAINED = "An episode of the validation: nothing of it is trained on."
SAME, SERVED, TRAINED = "same", "served", "trained"


@dataclass(frozen=True, order=True)
class Place:
    """step: updates made before it; kind: of schema.py"""

    block: str
    seed: int
    kind: str
    step: int
    task: str
    number: int


@dataclass(frozen=True)
class Piece:
    """Tokens that were served and trained (same), served alone, or trained alone. start: the first one's place there"""

    kind: str
    start: int
    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Message:
    """calls: (tool, arguments as JSON)"""

    role: str
    text: str
    calls: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RolloutView:
    """One rollout, of the arms that have it alike. facts: (name, value); pieces: none where the two are the same"""

    place: Place
    arms: tuple[str, ...]
    reward: float
    facts: tuple[tuple[str, str], ...]
    messages: tuple[Message, ...]
    compared: str
    pieces: tuple[Piece, ...]


def rollout_views(sweep: SweepRecords) -> tuple[RolloutView, ...]:
    """By place. Of all blocks; empty where the sweep keeps no sample."""
    runs = {run.name: run for run in sweep.runs}
    first = {str(digest) for digest in (sweep.manifest.get("content") or {}).values()}
    alike: dict[RolloutView, list[str]] = {}
    for rollout in sweep.rollouts():
        if run := runs.get(rollout["run"]):
            alike.setdefault(_view(rollout, run, first), []).append(run.arm)
    views = (replace(view, arms=tuple(arms)) for view, arms in alike.items())
    return tuple(sorted(views, key=lambda view: view.place))


def _view(rollout: Record, run: RecordedRun, first: set[str]) -> RolloutView:
    """Without its arms. first: digests, the first checkpoint's among them"""
    served, trained, kind = served_ids(rollout), tuple(rollout["trained_ids"]), kind_of(rollout)
    texts = {int(token): text for token, text in (rollout.get("texts") or {}).items()}
    pieces = tuple(_pieces(served, trained, texts)) if served and trained and served != trained else ()
    return RolloutView(
        place=Place(run.block, run.seed, kind, rollout["step"], rollout["task"], rollout["rollout"]),
        arms=(),
        reward=float(rollout["reward"]),
        facts=tuple(_facts(rollout, run, first)),
        messages=tuple(map(_message, rollout["messages"])),
        compared=NOT_TRAINED if kind == VALIDATION else _compared(served, trained, pieces),
        pieces=pieces,
    )


def kind_of(rollout: Record) -> str:
    return str(rollout.get("kind", TRAINING))


def _message(message: Record) -> Message:
    calls = tuple((call["name"], call["arguments"]) for call in message.get("tool_calls") or ())
    return Message(message["role"], message.get("content") or "", calls)


def _facts(rollout: Record, run: RecordedRun, first: set[str]) -> Iterator[tuple[str, str]]:
    outcome = rollout["outcome"]
    if kind_of(rollout) == TRAINING:
        yield "reward that was trained on", formats.reward(rollout["reward"])
    yield "reward of the benchmark", formats.reward(rollout["raw_reward"])
    for name, part in (("expected tool calls made", "actions"), ("facts told or reached", "facts")):
        if total := outcome[f"{part}_total"]:
            met = outcome["actions_matched" if part == "actions" else "facts_met"]
            yield name, f"{met} of {total}"
    if outcome["db_match"] is not None:
        yield "database as it should be", "yes" if outcome["db_match"] else "no"
    if outcome.get("shaped") is not None:
        yield "reward of the project's own rollout", formats.reward(outcome["shaped"])
    yield "how it ended", ENDS.get(rollout["end"], str(rollout["end"]))
    if outcome.get("raised"):
        yield "what upstream's loop would have raised", str(outcome["raised"])
    yield "weights that answered", _weights(rollout, run, first)


def _weights(rollout: Record, run: RecordedRun, first: set[str]) -> str:
    """Which weights wrote the replies, and how many updates had been made by then."""
    answered = list(dict.fromkeys(turn["answered_by"] for turn in rollout["turns"]))
    made = sum(1 for step in run.steps if step["step"] <= rollout["step"] and step.get("gradient_steps"))
    updates = f"{made} update{'s' * (made != 1)}"
    if not answered:
        return "none: there was no reply"
    if len(answered) > 1:
        return f"{len(answered)} different ones ({', '.join(digest[:8] for digest in answered)}), after {updates}"
    if answered[0] not in first:
        return f"{answered[0][:8]}, after {updates} of this run"
    behind = f"although this run had made {updates}" if made else "and this run had made no update yet"
    return f"{answered[0][:8]}: those of the first checkpoint, {behind}"


def served_ids(rollout: Record) -> tuple[int, ...]:
    """The last request's prompt and its answer; empty where the prompt's ids are not known."""
    last = rollout["turns"][-1] if rollout["turns"] else {}
    return (*last["prompt_ids"], *last["output_ids"]) if last.get("prompt_ids") else ()


def _compared(served: Sequence[int], trained: Sequence[int], pieces: Sequence[Piece]) -> str:
    if not trained:
        return f"Nothing of its {len(served)} served tokens was trained on: without log-probs ART trains on no token."
    if not served:
        return f"{len(trained)} tokens were trained on; what was served is not recorded."
    if not pieces:
        return f"Trained on exactly what was served: {len(served)} tokens."
    alone = {kind: sum(len(piece.ids) for piece in pieces if piece.kind == kind) for kind in (SERVED, TRAINED)}
    start = len(pieces[0].ids) if pieces[0].kind == SAME else 0
    return (
        f"{alone[SERVED]} of {len(served)} served tokens were missing from what was trained on, and "
        f"{alone[TRAINED]} of {len(trained)} trained tokens were never served. The two first differ at token {start}, "
        "counted from 0."
    )


def _pieces(served: Sequence[int], trained: Sequence[int], texts: dict[int, str]) -> Iterator[Piece]:
    """A diff of token ids. texts: of single tokens; where one is not known, its id stands for it"""

    def piece(kind: str, ids: Sequence[int], start: int, end: int) -> Iterator[Piece]:
        part = tuple(ids[start:end])
        if part:
            yield Piece(kind, start, part, "".join(texts.get(token, f" {token}") for token in part))

    for tag, a, b, c, d in SequenceMatcher(None, served, trained, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from piece(SAME, served, a, b)
        else:
            yield from piece(SERVED, served, a, b)
            yield from piece(TRAINED, trained, c, d)
