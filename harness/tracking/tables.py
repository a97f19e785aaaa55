"""A sweep's sample of rollouts and its effects as tables for W&B: pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.load import RecordedRun, SweepRecords
from harness.records.schema import TRAINING, Record
from harness.report.rollout_views import ENDS, kind_of, served_ids

PARTS = ("actions_matched", "actions_total", "facts_met", "facts_total", "db_match")  # of a reward
EFFECT = (
    "kind",
    "outcome",
    "factors",
    "aliases",
    "verdict",
    "value",
    "low",
    "high",
    "low_all",
    "high_all",
    "p_holm",
    "seeds",
)
# What `trained_as_served` says.
YES, NO, NOTHING, UNKNOWN, VALIDATION = "yes", "no", "nothing trained", "served tokens unknown", "validation"


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    data: tuple[tuple[Any, ...], ...]


def rollout_table(sweep: SweepRecords) -> Table | None:
    """A row per rollout of the sample that the sweep keeps (sweep/sample.py); None where it keeps none.

    reward: what was trained on; raw_reward: the benchmark's; first_difference: the place, from 0, of the first token
    that was not trained as it was served
    """
    runs = {run.name: run for run in sweep.with_controls.runs}
    rows = [_row(rollout, runs[rollout["run"]]) for rollout in sweep.rollouts() if rollout["run"] in runs]
    return Table(tuple(rows[0]), tuple(tuple(row.values()) for row in rows)) if rows else None


def effects_table(effects: Mapping[str, Any]) -> Table | None:
    """A row per effect. effects: effects.json; None where it has none

    aliases: what is mixed with an effect: its value is the sum of all
    """
    rows = [tuple(_cell(each, name) for name in EFFECT) for each in effects.get("effects") or ()]
    return Table(EFFECT, tuple(rows)) if rows else None


def conversation(messages: Iterable[Mapping[str, Any]]) -> str:
    """As text: who says what, and the calls, a line each."""
    lines = []
    for message in messages:
        if text := message.get("content"):
            lines.append(f"{message['role']}: {text}")
        for call in message.get("tool_calls") or ():
            lines.append(f"{message['role']} calls {call['name']}({call['arguments']})")
    return "\n".join(lines)


def _row(rollout: Record, run: RecordedRun) -> dict[str, Any]:
    served, trained = served_ids(rollout), tuple(rollout["trained_ids"])
    training = kind_of(rollout) == TRAINING
    return {
        "run": run.name,
        "arm": run.arm,
        "seed": run.seed,
        "block": run.block,
        "kind": kind_of(rollout),
        "step": rollout["step"],
        "task": rollout["task"],
        "rollout": rollout["rollout"],
        "reward": rollout["reward"],
        "raw_reward": rollout["raw_reward"],
        **{part: rollout["outcome"].get(part) for part in PARTS},
        "end": ENDS.get(rollout["end"], rollout["end"]),
        "trained_as_served": _compared(served, trained) if training else VALIDATION,
        "first_difference": _first_difference(served, trained) if training and served and trained else None,
        "conversation": conversation(rollout["messages"]),
    }


def _compared(served: Sequence[int], trained: Sequence[int]) -> str:
    if not trained:
        return NOTHING
    if not served:
        return UNKNOWN
    return YES if served == trained else NO


def _first_difference(served: Sequence[int], trained: Sequence[int]) -> int | None:
    if served == trained:
        return None
    same = (place for place, (a, b) in enumerate(zip(served, trained, strict=False)) if a != b)
    return next(same, min(len(served), len(trained)))


def _cell(effect: Mapping[str, Any], name: str) -> Any:
    """Factors, and aliases, as one text: a cell holds no list."""
    value = effect.get(name)
    return (", " if name == "aliases" else " × ").join(value) if isinstance(value, list) else value
