"""What the dashboard shows, as plain data: no W&B behind it, so that it can be read and compared offline."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records.load import SweepRecords
from harness.report import effect_text
from harness.report.cost_text import reproduce
from harness.report.effect_sections import MARKS
from harness.report.formats import block_line, headline
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.effects import Effects
from harness.stats.sweep_statistics import SweepStatistics
from harness.tracking.report_run import EFFECTS
from harness.tracking.tracker import group_of, run_id

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


ENDS = ("area", "last")  # of a run's summary
LINE, BAR, PARALLEL, MEDIA = "line", "bar", "parallel", "media"
RUNS = 100  # that a panel may show, at least: more seeds may follow
LINES = 10  # arms that one plot shows as lines of their own


@dataclass(frozen=True)
class Panel:
    """One of the kinds of panel.

    line: over training steps; runs are averaged by `group` (a config key), bands show their range
    bar: a bar per key of the summary; parallel: a line per run through its config and summary; media: images
    """

    title: str
    keys: tuple[str, ...]
    group: str = ""
    kind: str = LINE


@dataclass(frozen=True)
class DashboardSection:
    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """Of the runs of one W&B group. text: paragraphs of the report, above its panels

    commands: what it takes to make it again: (what it does, what to type)
    hidden: W&B ids of runs that no panel draws, as no mean of the report counts them: INVALID ones, negative controls
    runs: that a panel may show, at least as many as the group holds; W&B's own limit would leave out the others
    """

    entity: str
    project: str
    group: str
    title: str
    text: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    claims: tuple[str, ...]
    sections: tuple[DashboardSection, ...]
    hidden: tuple[str, ...]
    runs: int


def dashboard(sweep: SweepRecords, answer: SweepStatistics, entity: str, project: str) -> Dashboard:
    """Of the main block where there are several."""
    sweep = sweep.main
    hidden = {"INVALID": [run for run in sweep.runs if not run.valid], "negative controls": sweep.controls}
    return Dashboard(
        entity=entity,
        project=project,
        group=group_of(sweep.name, sweep.main_block),
        title=f"Ablation: {sweep.name}",
        text=(
            headline(sweep),
            *filter(None, [block_line(sweep)]),
            *(f"Runs that the panels leave out: {len(runs)} ({why})." for why, runs in hidden.items() if runs),
            *verdict_sentences(sweep, answer.effects),
            *caveats(sweep, answer.effects),
        ),
        commands=tuple((sentence.replace("`", ""), command) for sentence, command in reproduce(sweep)),
        claims=tuple(f"{MARKS[v.verdict]} ({v.claim.id}) {v.claim.title}: {v.label}" for v in answer.verdicts),
        sections=tuple(_sections(sweep, answer.effects)),
        hidden=tuple(
            run_id(sweep.name, run.name, sweep.manifest.get("created", "")) for runs in hidden.values() for run in runs
        ),
        runs=max(RUNS, len(sweep.with_controls.runs) + 1),  # and the report's
    )


def _sections(sweep: SweepRecords, effects: Effects) -> Iterator[DashboardSection]:
    if kind := effect_text.leading_kind(effects):
        found = effect_text.answered(effects, kind)
        keys = tuple(f"{EFFECTS}/{effect.factors[0]}" for effect in found)
        yield DashboardSection(
            "Effects of the fixes",
            (
                Panel(f"{effect_text.KIND_TITLES[kind]}, final reward", keys, kind=BAR),
                Panel("With 95 % intervals", ("figures/forest",), kind=MEDIA),
            ),
        )
    # 64 lines can't be told apart: of so many arms the levels of each factor are compared, below.
    arm = "arm" if len(sweep.arms) <= LINES else "sweep"
    of = "" if arm == "arm" else ", mean and range of all runs"
    yield DashboardSection(
        "Every arm",
        (
            Panel("Levels and rewards", (*(f"fix.{factor}" for factor in sweep.factors), *ENDS), kind=PARALLEL),
            Panel(f"Reference validation reward{of}", ("val/reward",), arm),
            Panel(f"Reported reward{of}", ("reported/reward",), arm),
            Panel(f"Reported minus reference{of}", ("val_gap",), arm),
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
    yield DashboardSection(f"Training{of}", tuple(Panel(key, (key,), arm) for key in TRAINING))


def check_keys(sweep: SweepRecords, factor: str) -> tuple[str, ...]:
    """The W&B keys of a factor's manipulation check, as tracking/metrics.py writes them."""
    readings = {name for run in sweep.runs for c in run.checks if c.factor == factor for name in c.reading}
    return tuple(f"check/{factor}/{name}" for name in ("took_effect", *sorted(readings)))
