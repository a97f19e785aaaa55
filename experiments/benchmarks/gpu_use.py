"""What sweeps made of their GPUs, from their records: rollouts and trained tokens a GPU second, and MFU.

    python -m experiments.benchmarks.gpu_use results/h100_retail_wrong_decisions_kinds results/…

Seconds are those of the whole command, its start and its report among them, times the cards. What an update computed
for several runs is counted once. trained: tokens of the trainer's rows without padding, which hold what a gradient goes
through, not only what has an advantage. training: the share of the GPU seconds in which a trainer was at work. MFU:
the trainer's floating-point operations of a second, over what the card's data sheet promises for dense bfloat16
(PaLM, section 4.1), while it trains and over all GPU seconds; what the sampler computes is not in it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.machine.memory import card_of
from harness.records.load import SweepRecords, load_sweep
from harness.records.schema import Record

COLUMNS = (
    *("sweep", "cards", "runs", "wall, s", "episodes/s a card", "trained tokens/s a card"),
    *("training", "MFU while training", "MFU"),
)


@dataclass(frozen=True)
class Use:
    """wall: seconds; episodes: computed; tokens: trained; busy: seconds of all trainers; tflop: what they computed."""

    name: str
    card: str
    cards: int
    runs: int
    wall: float
    episodes: int
    tokens: float
    busy: float
    tflop: float

    @classmethod
    def of(cls, sweep: SweepRecords) -> "Use":
        """Raises ValueError for a sweep without a GPU, or one that does not say how long it took."""
        gpus = sweep.manifest.get("machine", {}).get("gpus") or []
        wall = (sweep.reuse.get("seconds") or {}).get("wall")
        if not gpus or not wall:
            raise ValueError(
                f"{sweep.name}: its records name no {'GPU' if not gpus else 'seconds of the whole command'}"
            )
        updates = list(_computed(sweep))
        return cls(
            sweep.folder.name,
            gpus[0],
            len(gpus),
            len(sweep.runs),
            float(wall),
            int(sweep.reuse["episodes"]["computed"]),
            sum(update["tokens"] for update in updates),
            sum(update["step_seconds"] for update in updates),
            sum(update["step_seconds"] * update["tflop_per_s"] for update in updates),
        )

    def row(self) -> str:
        gpu_seconds, card = self.wall * self.cards, card_of(self.card)
        while_training, over_all = "–", "–"
        if card and self.busy:
            while_training, over_all = (f"{self.tflop / s / card.tflops:.1%}" for s in (self.busy, gpu_seconds))
        cells = (
            *(self.name, f"{self.cards} × {self.card}", str(self.runs), f"{self.wall:.0f}"),
            *(f"{self.episodes / gpu_seconds:.1f}", f"{self.tokens / gpu_seconds:,.0f}"),
            *(f"{self.busy / gpu_seconds:.0%}", while_training, over_all),
        )
        return f"| {' | '.join(cells)} |"


def _computed(sweep: SweepRecords) -> Iterator[Record]:
    """What the trainer said of each update that was computed: of one that was found it says nothing."""
    for run in sweep.runs:
        yield from (step["trainer"] for step in run.steps if step.get("trainer"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+", metavar="SWEEP", help="a folder of results")
    try:
        rows = [Use.of(load_sweep(folder)).row() for folder in parser.parse_args().sweeps]
    except ValueError as error:
        parser.error(str(error))
    print("\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]))


if __name__ == "__main__":
    main()
