"""The same training under two names: a sweep that was copied, or whose seeds or policy were called otherwise.

Names, seeds and configurations say what somebody meant; only the records say what was run. An update is known by its
digest, which is of all that it depends on, the seed's first adapter and sampling too (`Outcomes.weights_A_N_S`). Over
the committed sweeps no two seeds share one. A backend that names no updates leaves numbers: the loss and the gradient
of an update, equal to the digit. Without these a run is known by its name and by all of its validations' rewards.

Runs without an update say nothing: greedy episodes of the untrained policy are the same under every seed.
"""

from collections.abc import Hashable, Iterator, Sequence

from harness.errors import ConfigError
from harness.records.load import RecordedRun, SweepRecords

NUMBERS = ("loss", "grad_norm", "entropy", "logprob_gap", "probs_corr", "reward", "raw_reward", "trainable_tokens")


def refuse_copies(sweeps: Sequence[SweepRecords]) -> None:
    """Raises ConfigError where two seeds, of one sweep or of two, hold the same training. sweeps: of one block each."""
    held: dict[Hashable, tuple[SweepRecords, RecordedRun]] = {}
    for sweep in sweeps:
        for run in sweep.runs:
            for mark in _marks(run):
                first, other = held.setdefault(mark, (sweep, run))
                if first is not sweep or other.seed != run.seed:
                    raise ConfigError(_text(first, other, sweep, run))


def _marks(run: RecordedRun) -> Iterator[Hashable]:
    """What no other training has in common with a run's."""
    trained = [step for step in run.steps if step.get("gradient_steps")]
    marks: list[Hashable] = [step.get("update") or _numbers(dict(step)) for step in trained]
    marks = [mark for mark in marks if mark is not None]
    if trained and not marks:
        marks.append((run.name, tuple((v.step, tuple(v.by_task.items()), v.reported) for v in run.validations)))
    yield from marks


def _numbers(step: dict[str, object]) -> Hashable:
    """None where the step has neither a loss nor a gradient."""
    return tuple(step.get(key) for key in NUMBERS) if step.get("loss") or step.get("grad_norm") else None


def _text(first: SweepRecords, other: RecordedRun, sweep: SweepRecords, run: RecordedRun) -> str:
    where = other.name if first is sweep else f"{other.name} of {first.folder}"
    return (
        f"{where} and {run.name} of {sweep.folder} are one training under two names: they hold the same update, to the "
        "digit. One piece of evidence is not two. Leave one of them out, or start it again with seeds of its own."
    )
