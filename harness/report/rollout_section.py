"""The rollouts on the page: a grid of places × arms, whose cells open a rollout beside another arm's.

Without JavaScript a cell is a link to the rollout further down. What has no room on the page of a live sweep is on
further pages, in files beside it: there a cell is a link to one of those.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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

ROOM = 1_500_000  # bytes of a page that rollouts may take
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
    """One place: its name, and by arm (link, reward, shade from −100 to 100) or None"""

    name: str
    cells: tuple[tuple[str, str, int] | None, ...]


@dataclass(frozen=True)
class Rollouts:
    """html: of the section; held_out: by arm and task the anchor of a validation of the main block

    further: HTML of what the section links to, by the path of its file beside the page
    """

    html: tuple[str, ...]
    held_out: Mapping[tuple[str, str], str]
    further: Mapping[str, str]


@dataclass(frozen=True)
class _Found:
    """The different rollouts of one place, their anchors, and all of them as HTML."""

    place: Place
    views: tuple[RolloutView, ...]
    anchors: tuple[str, ...]
    html: str


def rollouts_of(sweep: SweepRecords, beside: bool = False) -> Rollouts:
    """sweep: with all its blocks; beside: what a page has no room for is in files beside it, else it is left out"""
    views = rollout_views(sweep)
    if not views:
        return Rollouts((heading("Rollouts"), f"<p>{text(NO_SAMPLE)}</p>"), {}, {})
    arms = [arm for arm in arms_in_order(sweep.main) if any(arm in view.arms for view in views)]
    first, *others = _pages(_found(views, sweep))
    files = {f"rollouts/{number}.html": page for number, page in enumerate(others, start=2)}
    left = sum(len(view.arms) for page in others for each in page for view in each.views)
    html = [heading("Rollouts"), f"<p>{text(INTRODUCTION)}</p>"]
    if left and not beside:
        html.append(f"<p>{left} further rollouts have no room on this page; the records hold them.</p>")
    html += [_grid(first, arms, sweep), _all_of(first)]
    if left and beside:
        html.append(f"<h3>{left} further rollouts, in files beside this page</h3>")
        html += [_grid(page, arms, sweep, file) for file, page in files.items()]
    further = {file: _grid(page, arms, sweep) + _all_of(page) for file, page in files.items()} if beside else {}
    return Rollouts(tuple(html), _held_out(first, sweep), further)


def _found(views: Sequence[RolloutView], sweep: SweepRecords) -> Iterator[_Found]:
    for number, (place, same) in enumerate(groupby(sorted(views, key=_order), key=lambda view: view.place)):
        alike = tuple(same)
        anchors = tuple(f"rollout-{number}-{n}" for n, _ in enumerate(alike))
        name = f"{_name(place)}, {_group(place, sweep)}"
        yield _Found(place, alike, anchors, render("rollouts.jinja", place=name, rollouts=_shown(alike, anchors)))


def _pages(found: Iterable[_Found]) -> list[list[_Found]]:
    """What fits on each page; on a further one at least one place."""
    pages: list[list[_Found]] = [[]]
    left = ROOM
    for each in found:
        size = len(each.html.encode())
        if size > left and (pages[-1] or len(pages) == 1):
            pages.append([])
            left = ROOM
        pages[-1].append(each)
        left -= size
    return pages


def _grid(page: Sequence[_Found], arms: Sequence[str], sweep: SweepRecords, file: str = "") -> str:
    """file: that holds the rollouts; '': they are on the same page, whose script opens them"""
    colours, shown = arm_colours(sweep.main), sorted(page, key=lambda each: each.place)
    groups = [
        (group, [_row(each, arms, file) for each in of])
        for group, of in groupby(shown, key=lambda each: _group(each.place, sweep))
    ]
    heads = [(arm, colours[arm]) for arm in arms]
    return render("rollout_grid.jinja", heads=heads, groups=groups, opens=not file)


def _all_of(page: Sequence[_Found]) -> str:
    shown = sorted(page, key=lambda each: each.place)
    return folded("All of these, one after the other", "".join(each.html for each in shown))


def _held_out(page: Sequence[_Found], sweep: SweepRecords) -> dict[tuple[str, str], str]:
    counted = {(run.arm, run.seed) for run in sweep.main.runs if run.valid}  # a cell is a mean over valid runs
    anchors: dict[tuple[str, str], str] = {}
    for each in page:
        if each.place.kind == VALIDATION and each.place.block == sweep.main_block:
            for view, anchor in zip(each.views, each.anchors, strict=True):
                for arm in view.arms:
                    if (arm, each.place.seed) in counted:
                        anchors.setdefault((arm, each.place.task), anchor)
    return anchors


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


def _row(found: _Found, arms: Sequence[str], file: str) -> Row:
    of = {arm: (anchor, view) for anchor, view in zip(found.anchors, found.views, strict=True) for arm in view.arms}
    cells = (
        (f"{file}#{of[arm][0]}", f"{of[arm][1].reward:.2f}".replace("-", "−"), round(100 * of[arm][1].reward))
        if arm in of
        else None
        for arm in arms
    )
    return Row(_name(found.place), tuple(cells))
