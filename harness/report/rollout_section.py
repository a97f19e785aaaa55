"""The rollouts on the page: a grid of places × arms, whose cells open a rollout beside another arm's.

Without JavaScript a cell is a link to the rollout further down.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.records.load import SweepRecords
from harness.records.schema import VALIDATION
from harness.report import formats
from harness.report.arm_rows import arms_in_order
from harness.report.figures import arm_colours
from harness.report.markup import folded, heading, text
from harness.report.rollout_views import Place, RolloutView, rollout_views
from harness.report.task_grid import name_of
from harness.report.templating import render

ROOM = 1_500_000  # bytes of the page that rollouts may take
NO_SAMPLE = (
    "This sweep keeps no rollouts. A sample of them, with the token ids that were served and trained on, is taken when "
    "a sweep with reuse=on has ended, while its store is on the machine."
)
INTRODUCTION = (
    "A sample of the rollouts, the same tasks for every arm of a seed: of the first and the last training step, where "
    "a cell is the reward that was trained on, and of the last validation, where the sweep kept it. A cell opens the "
    "rollout: the conversation, the weights that answered, and what was served against what was trained on. In a row "
    "all arms met the same task with the same luck."
)


@dataclass(frozen=True)
class Row:
    """One place: its name, and by arm (anchor, reward, shade from −100 to 100) or None"""

    name: str
    cells: tuple[tuple[str, str, int] | None, ...]


@dataclass(frozen=True)
class Rollouts:
    """html: of the section; held_out: by arm and task the anchor of a validation of the main block"""

    html: tuple[str, ...]
    held_out: Mapping[tuple[str, str], str]


def rollouts_of(sweep: SweepRecords, room: int = ROOM) -> Rollouts:
    """sweep: with all its blocks"""
    held_out: dict[tuple[str, str], str] = {}
    return Rollouts(tuple(_section(sweep, room, held_out)), held_out)


def _section(sweep: SweepRecords, room: int, held_out: dict[tuple[str, str], str]) -> Iterator[str]:
    """held_out: is filled"""
    yield heading("Rollouts")
    views = rollout_views(sweep)
    if not views:
        yield f"<p>{text(NO_SAMPLE)}</p>"
        return
    shown: list[tuple[Place, Row, str]] = []
    left_out = 0
    arms = [arm for arm in arms_in_order(sweep.main) if any(arm in view.arms for view in views)]
    counted = {(run.arm, run.seed) for run in sweep.main.runs if run.valid}
    for place, found in groupby(sorted(views, key=_order), key=lambda view: view.place):
        alike = list(found)
        anchors = [f"rollout-{len(shown)}-{number}" for number, _ in enumerate(alike)]
        html = render(
            "rollouts.jinja", place=f"{_name(place)}, {_group(place, sweep)}", rollouts=_shown(alike, anchors)
        )
        room -= len(html.encode())
        if room < 0:
            left_out += sum(len(view.arms) for view in alike)
            continue
        if place.kind == VALIDATION and place.block == sweep.main_block:
            for view, anchor in zip(alike, anchors, strict=True):
                for arm in view.arms:
                    if (arm, place.seed) in counted:  # a cell is a mean over valid runs
                        held_out.setdefault((arm, place.task), anchor)
        shown.append((place, _row(place, alike, anchors, arms), html))
    yield f"<p>{text(INTRODUCTION)}</p>"
    if left_out:
        yield f"<p>{left_out} further rollouts have no room on this page; the records hold them.</p>"
    colours = arm_colours(sweep.main)
    shown.sort(key=lambda found: found[0])
    groups = [
        (group, [row for _, row, _ in found])
        for group, found in groupby(shown, key=lambda found: _group(found[0], sweep))
    ]
    yield render("rollout_grid.jinja", heads=[(arm, colours[arm]) for arm in arms], groups=groups)
    yield folded("All of these, one after the other", "".join(html for *_, html in shown))


def _order(view: RolloutView) -> tuple[int, str, int, str, int, str]:
    """What matters most comes first, should there be no room for all."""
    place = view.place
    return place.seed, place.block, place.number, place.kind, place.step, place.task


def _name(place: Place) -> str:
    return place.task if place.kind == VALIDATION else f"{place.task}, rollout {place.number}"


def _group(place: Place, sweep: SweepRecords) -> str:
    block = f", {formats.block(sweep, place.block)}" if place.block else ""
    step = f"validation after step {place.step}" if place.kind == VALIDATION else f"step {place.step}"
    return f"seed {place.seed}, {step}{block}"


def _shown(alike: Sequence[RolloutView], anchors: Sequence[str]) -> list[tuple[str, str, str, RolloutView]]:
    return [
        (anchor, name_of(view.arms), ", ".join(view.arms), view) for anchor, view in zip(anchors, alike, strict=True)
    ]


def _row(place: Place, alike: Sequence[RolloutView], anchors: Sequence[str], arms: Sequence[str]) -> Row:
    of = {arm: (anchor, view) for anchor, view in zip(anchors, alike, strict=True) for arm in view.arms}
    cells = (
        (of[arm][0], f"{of[arm][1].reward:.2f}".replace("-", "−"), round(100 * of[arm][1].reward))
        if arm in of
        else None
        for arm in arms
    )
    return Row(_name(place), tuple(cells))
