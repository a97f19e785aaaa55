"""A placebo: levels that differ in nothing that can matter, compared as if it were a fix.

symptom:    none; a sweep that finds one finds differences where there are none
mechanism:  off samples the training rollouts with other luck of the same distribution, and hands the groups of a step
            to the trainer in the opposite order. ART shuffles what it packs, so neither is better by design
fix:        none; on is the loop as it is without a placebo
evidence:   whether the seeds of the rollouts are of the stream that the loop draws from by itself; the order of the
            groups that the trainer got

In a sound sweep it is found to matter in at most 5 % of cases. `placebo=true` adds it to a design.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from harness.factors import PLACEBO
from harness.seams import BATCH, EPISODES, Check, Evidence, Factor

FACTOR = Factor(
    name="placebo",
    summary="which luck of the same kind a run has; it cannot matter",
    levels={
        "off": "another stream of sampling seeds, and the groups of a step in the opposite order",
        "on": "the stream and the order that the loop has by itself",
    },
    changes=(EPISODES, BATCH),
    proof="streams of seeds, order of groups",
    baselines=(),
    launched="a placebo is no fault; neither loop had one (OpenPipe/ART has no such switch)",
    role=PLACEBO,
)


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    seam: ClassVar[tuple[str, ...]] = ("stream", "batch")
    needs: ClassVar[str] = "always"

    def stream(self, name: str) -> str:
        return f"{name}_placebo"

    def batch(self, groups: list[Any]) -> list[Any]:
        return groups[::-1]

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, own=False)


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    seam: ClassVar[tuple[str, ...]] = ("stream", "batch")
    needs: ClassVar[str] = "always"

    def stream(self, name: str) -> str:
        return name

    def batch(self, groups: list[Any]) -> list[Any]:
        return groups

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, own=True)


def _check(level: str, evidence: Evidence, own: bool) -> Check:
    """Seeds and order must both be the level's. A step with a single group has no order."""
    streams = [known for known in evidence.own_stream_N if known is not None]
    handed = [evidence.tasks.index(group.task) for group in evidence.submitted]
    pairs = list(pairwise(handed))
    kept = sum(first < second for first, second in pairs)
    reading = {
        "own_stream": sum(streams) / len(streams) if streams else float("nan"),
        "groups_in_order": kept / len(pairs) if pairs else float("nan"),
    }
    if not streams or not pairs:
        missing = "no rollout is there" if not streams else "fewer than two groups have an order"
        effect = None if all(known == own for known in streams) else False
        return Check(FACTOR.name, level, reading, effect, f"{'not shown: ' * (effect is None)}{missing}")
    text = (
        f"{sum(streams)} of {len(streams)} rollouts have a seed of the loop's own stream, and {kept} of {len(pairs)} "
        f"neighbouring groups were handed over in the order of the tasks (expected {'all' if own else 'none'} of both)"
    )
    return Check(FACTOR.name, level, reading, all(known == own for known in (*streams, *_in_order(pairs))), text)


def _in_order(pairs: list[tuple[int, int]]) -> list[bool]:
    return [first < second for first, second in pairs]
