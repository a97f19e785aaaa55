"""A sweep as pandas frames, for a notebook: `harness.load("results/cpu_leave_one_out")`. docs/notebook.md shows it.

Every frame is long, one row a thing, and made anew from the records when it is first asked for. COLUMNS documents each
column. Rewards of a validation are in 0..1, what is trained on or reported in −1..1; steps are training steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from harness.records.load import RecordedRun, SweepRecords, load_sweep
from harness.records.looks import record_look
from harness.records.schema import Record
from harness.report import effect_figures, figures
from harness.report.arm_rows import area, reference_curve, slope
from harness.report.markup import png
from harness.report.rollout_views import kind_of, served_ids
from harness.report.verdict import verdict_sentences
from harness.stats.effects import Effects, effects_by_block, outcomes_by_block, over_blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN = {
    "run": "name of the run",
    "arm": "name of the arm",
    "block": "name of the block; empty without blocks",
    "seed": "seed",
}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "runs": RUN
    | {
        "<factor>": "level of each factor, a column each",
        "state": "completed, running, failed or missing",
        "valid": "False: a switch did not take effect, or the run did not start as the others",
        "invalid": "what shows that; empty for a valid run",
        "first": "first validation reward",
        "last": "last validation reward",
        "slope": "validation reward per step, least squares",
        "area": "mean height of the validation curve",
        "reported": "last reward that the arm would have shown by its own rules",
        "gap": "reported − last",
        "seconds": "wall-clock time of the run, in seconds",
    },
    "curves": RUN
    | {
        "step": "updates made before this validation",
        "reference": "validation reward, mean over tasks",
        "reported": "reward that the arm shows by its own rules",
        "missing": "validation episodes that infrastructure failed",
    },
    "tasks": RUN
    | {
        "step": "updates made before this validation",
        "task": "task of the reference validation",
        "reward": "its validation reward; NaN: missing",
    },
    "effects": {
        "block": "name of the block; empty without blocks",
        "kind": "leave_one_out, main, added_alone, interaction or shapley",
        "outcome": "final and area (reward), slope (reward per step)",
        "factors": "the fix, or the fixes of an interaction with × between them",
        "verdict": "raises, lowers, no effect, undecided, depends, mixed, not shown or not answered",
        "value": "estimate; NaN: not answered",
        "low": "lower end of its 95 % interval; NaN: there is none",
        "high": "upper end",
        "low_all": "lower end of the 95 % interval of all effects of the kind and outcome together",
        "high_all": "upper end",
        "p": "p-value of this effect alone",
        "p_holm": "Holm-corrected over the effects of its kind and outcome",
        "seeds": "seeds behind it",
        "tasks": "tasks behind it",
        "identical": "exactly zero: the same weights and episodes at every validation",
        "note": "why it is not answered, not shown or depends",
    },
    "checks": RUN
    | {
        "step": "training step",
        "factor": "factor whose switch was looked at",
        "level": "level that the arm has of it",
        "took_effect": "True, False, or None: this step cannot tell",
        "text": "what was measured, as a sentence",
        "reading": "what was measured, by name",
    },
    "rollouts": RUN
    | {
        "kind": "training, or validation: of the last one",
        "step": "updates made before it",
        "task": "its task",
        "rollout": "its number in the group",
        "reward": "reward that was trained on; of a validation that of the benchmark",
        "raw_reward": "reward of the benchmark, 0 or 1",
        "end": "user_stop, done, turn_limit, prompt_limit or length",
        "actions_matched": "expected tool calls that were made",
        "actions_total": "expected tool calls",
        "facts_met": "facts told or reached",
        "facts_total": "facts to tell or reach",
        "db_match": "whether the database is as it should be; None: not looked at",
        "answered_by": "digests of the weights that answered, each once",
        "served": "token ids of the last prompt and its answer",
        "trained": "token ids that were trained on; none of a validation",
        "as_served": "whether the two are the same",
        "messages": "the conversation, as chat messages",
    },
}


class Sweep:
    """What `harness.load` returns. records: the same as plain data"""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.records = load_sweep(self.folder)

    def __repr__(self) -> str:
        return f"<sweep {self.records.name}: {len(self.records.arms)} arms, {len(self.records.runs)} runs>"

    @cached_property
    def runs(self) -> pd.DataFrame:
        return _frame("runs", (_run(run) for run in self._every), self.records.factors)

    @cached_property
    def curves(self) -> pd.DataFrame:
        return _frame("curves", (row for run in self._every for row in _curve(run)))

    @cached_property
    def tasks(self) -> pd.DataFrame:
        return _frame("tasks", (row for run in self._every for row in _tasks(run)))

    @cached_property
    def checks(self) -> pd.DataFrame:
        return _frame("checks", (_of(run) | asdict(check) for run in self._every for check in run.checks))

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """The sample of rollouts; empty where the sweep keeps none."""
        runs = {run.name: run for run in self._every}
        kept = (rollout for rollout in self.records.rollouts() if rollout["run"] in runs)
        return _frame("rollouts", (_of(runs[rollout["run"]]) | _rollout(rollout) for rollout in kept))

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Effects on the reference reward, block by block. Counts as a look at the sweep (docs/design.md)."""
        by_block = self._judged
        found = [(block, vars(effect)) for block, own in by_block.items() for effect in own.effects]
        rows = ({"block": block} | effect | {"factors": " × ".join(effect["factors"])} for block, effect in found)
        return _frame("effects", rows)

    def verdict(self) -> str:
        """The verdict of the report, in plain sentences, one a line. Counts as a look at the sweep."""
        sweep = self._looked_at
        return "\n".join(verdict_sentences(sweep.main, self._judged[sweep.main_block]))

    @property
    def plot(self) -> "Plots":
        return Plots(self)

    @property
    def _every(self) -> tuple[RecordedRun, ...]:
        return self.records.with_controls.runs

    @cached_property
    def _looked_at(self) -> SweepRecords:
        record_look(self.folder)
        return load_sweep(self.folder)

    @cached_property
    def _judged(self) -> dict[str, Effects]:
        """By block; those of the main block with what the others say of them."""
        sweep = self._looked_at
        outcomes = outcomes_by_block(sweep)
        each = effects_by_block(sweep, outcomes)
        return each | {sweep.main_block: over_blocks(sweep, outcomes, each)}


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure that a notebook shows by itself."""

    figure: "Figure"

    def _repr_png_(self) -> bytes:
        return png(self.figure)

    def save(self, path: Path | str) -> None:
        Path(path).write_bytes(png(self.figure))


@dataclass(frozen=True)
class Plots:
    """The figures of the report, of the main block."""

    sweep: Sweep

    def curves(self) -> Drawing:
        """Validation reward of each arm by step, and beside it what the arms report."""
        return Drawing(figures.overview_figure(self.sweep.records.main))

    def effects(self) -> Drawing:
        """Each fix's effect on the final reward with its intervals. Counts as a look at the sweep."""
        sweep = self.sweep
        return Drawing(effect_figures.forest_figure(sweep._judged[sweep.records.main_block]))

    def gaps(self) -> Drawing:
        """Last reported against last validation reward of each arm."""
        return Drawing(figures.gap_figure(self.sweep.records.main))


def _frame(name: str, rows: Iterable[Record], factors: Iterable[str] = ()) -> pd.DataFrame:
    """With the columns of COLUMNS in their order, also where there is no row."""
    names = [c for column in COLUMNS[name] for c in (factors if column == "<factor>" else (column,))]
    return pd.DataFrame(list(rows), columns=names)


def _of(run: RecordedRun) -> Record:
    return {"run": run.name, "arm": run.arm, "block": run.block, "seed": run.seed}


def _run(run: RecordedRun) -> Record:
    curve = reference_curve(run)
    last = run.validations[-1] if run.validations else None
    reported = last.reported if last else None
    gap = reported - last.reference if last and reported is not None and last.reference is not None else None
    return {
        **_of(run),
        **run.levels,
        "state": run.state,
        "valid": run.valid,
        "invalid": "; ".join(f"{factor}: {reading}" for factor, reading in run.invalid),
        "first": curve[0][1] if curve else None,
        "last": curve[-1][1] if curve else None,
        "slope": slope(curve),
        "area": area(curve),
        "reported": reported,
        "gap": gap,
        "seconds": run.seconds,
    }


def _curve(run: RecordedRun) -> Iterator[Record]:
    for v in run.validations:
        yield _of(run) | {"step": v.step, "reference": v.reference, "reported": v.reported, "missing": v.missing}


def _tasks(run: RecordedRun) -> Iterator[Record]:
    for v in run.validations:
        yield from (_of(run) | {"step": v.step, "task": task, "reward": reward} for task, reward in v.by_task.items())


def _rollout(rollout: Record) -> Record:
    served, trained = served_ids(rollout), tuple(rollout["trained_ids"])
    answered = dict.fromkeys(turn["answered_by"] for turn in rollout["turns"])
    own = {name: rollout[name] for name in ("step", "task", "rollout", "reward", "raw_reward", "end", "messages")}
    own["kind"] = kind_of(rollout)
    made = {"answered_by": tuple(answered), "served": served, "trained": trained, "as_served": served == trained}
    return {**rollout["outcome"], **own, **made}
