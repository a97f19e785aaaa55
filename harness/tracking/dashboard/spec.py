"""What the dashboard shows, as plain data: no W&B behind it, so that it can be read and compared offline."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records.load import SweepRecords
from harness.report.cost_text import reproduce
from harness.report.effect_sections import MARKS
from harness.report.formats import block_line, headline
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.sweep_statistics import SweepStatistics
from harness.tracking.tracker import group_of

TRAINING = (
    "train/reward",
    "train/groups_with_spread",
    "train/gradient_steps",
    "train/trainable_tokens",
    "train/probs_corr",
    "train/logprob_gap",
    "train/grad_norm",
    "train/loss",
)


@dataclass(frozen=True)
class Panel:
    """A line plot over training steps; runs are averaged by `group` (a config key), bands show their range."""

    title: str
    keys: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class DashboardSection:
    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """Of the runs of one W&B group. text: paragraphs of the report, above its panels

    commands: what it takes to make it again: (what it does, what to type)
    """

    entity: str
    project: str
    group: str
    title: str
    text: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    claims: tuple[str, ...]
    sections: tuple[DashboardSection, ...]


def dashboard(sweep: SweepRecords, answer: SweepStatistics, entity: str, project: str) -> Dashboard:
    """Of the main block where there are several."""
    sweep = sweep.main
    return Dashboard(
        entity=entity,
        project=project,
        group=group_of(sweep.name, sweep.main_block),
        title=f"Ablation: {sweep.name}",
        text=(
            headline(sweep),
            *filter(None, [block_line(sweep)]),
            *verdict_sentences(sweep, answer.effects),
            *caveats(sweep, answer.effects),
        ),
        commands=tuple((sentence.replace("`", ""), command) for sentence, command in reproduce(sweep)),
        claims=tuple(f"{MARKS[v.verdict]} ({v.claim.id}) {v.claim.title}: {v.label}" for v in answer.verdicts),
        sections=tuple(_sections(sweep)),
    )


def _sections(sweep: SweepRecords) -> Iterator[DashboardSection]:
    yield DashboardSection(
        "Every arm",
        (
            Panel("Reference validation reward", ("val/reward",), "arm"),
            Panel("Reported reward", ("reported/reward",), "arm"),
            Panel("Reported minus reference", ("val_gap",), "arm"),
        ),
    )
    for factor in sweep.factors:
        group = f"fix.{factor}"
        yield DashboardSection(
            f"{factor}: on against off",
            (
                Panel(f"Reference reward by {factor}", ("val/reward",), group),
                Panel(f"Reported reward by {factor}", ("reported/reward",), group),
                *(Panel(key, (key,), group) for key in check_keys(sweep, factor)),
            ),
        )
    yield DashboardSection("Training", tuple(Panel(key, (key,), "arm") for key in TRAINING))


def check_keys(sweep: SweepRecords, factor: str) -> tuple[str, ...]:
    """The W&B keys of a factor's manipulation check, as tracking/metrics.py writes them."""
    readings = {name for run in sweep.runs for c in run.checks if c.factor == factor for name in c.reading}
    return tuple(f"check/{factor}/{name}" for name in ("took_effect", *sorted(readings)))
