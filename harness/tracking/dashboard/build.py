"""The dashboard as objects of wandb-workspaces. Its two modules are passed in, so that this loads without them."""

from typing import Any

from harness.tracking.dashboard.spec import BAR, LINE, MEDIA, PARALLEL, Dashboard, DashboardSection, Panel


def workspace(spec: Dashboard, workspaces: Any, reports: Any) -> Any:
    """A `wandb_workspaces.workspaces.Workspace`, not saved yet. Its panels show the sweep's runs only."""
    return workspaces.Workspace(
        entity=spec.entity,
        project=spec.project,
        name=spec.title,
        sections=[
            workspaces.Section(name=s.name, panels=_panels(s.panels, spec.runs, reports), is_open=n < 2)
            for n, s in enumerate(spec.sections)
        ],
        settings=workspaces.WorkspaceSettings(x_axis="step", max_runs=spec.runs),
        runset_settings=workspaces.RunsetSettings(
            filters=_of_group(spec),
            run_settings={run: workspaces.RunSettings(disabled=True) for run in spec.hidden},
            pinned_columns=["run:displayName", "summary:val/reward", "summary:reported/reward", "summary:validity"],
        ),
    )


def report(spec: Dashboard, reports: Any) -> Any:
    """A `wandb_workspaces.reports.v2.Report`, not saved yet: verdict, how to make it again, claims, then the panels."""
    blocks = [reports.P(paragraph) for paragraph in spec.text]
    for sentence, command in spec.commands:
        blocks += [reports.P(sentence), reports.CodeBlock(code=command, language=None)]
    if spec.claims:
        blocks += [reports.H2("Claims of the note"), reports.UnorderedList(items=list(spec.claims))]
    for section in spec.sections:
        runs = reports.Runset(
            entity=spec.entity,
            project=spec.project,
            name=spec.group,
            filters=_of_group(spec),
            groupby=_grouping(section),
            run_settings={run: reports.RunSettings(disabled=True) for run in spec.hidden},
        )
        grid = reports.PanelGrid(runsets=[runs], panels=_panels(section.panels, spec.runs, reports))
        blocks += [reports.H2(section.name), grid]
    return reports.Report(entity=spec.entity, project=spec.project, title=spec.title, blocks=blocks, width="fluid")


def _grouping(section: DashboardSection) -> list[str]:
    """What the runs below the panels are grouped by; nothing where a panel shows each run."""
    groups = {panel.group for panel in section.panels}
    return [f"config.{next(iter(groups))}"] if len(groups) == 1 and all(groups) else []


def _of_group(spec: Dashboard) -> str:
    group = repr(spec.group).replace("=", r"\x3d")  # wandb-workspaces doubles each "=", inside quotes too
    return f"Metric('Group') == {group}"


def _panels(panels: tuple[Panel, ...], runs: int, reports: Any) -> list[Any]:
    """In rows of a grid that is 24 units wide. runs: that a panel may show"""
    made, x, y = [], 0, 0
    for panel in panels:
        width = 8 if panel.kind == LINE else 12
        x, y = (0, y + 6) if x + width > 24 else (x, y)
        made.append(_panel(panel, runs, reports, reports.Layout(x=x, y=y, w=width, h=6)))
        x += width
    return made


def _panel(panel: Panel, runs: int, reports: Any, layout: Any) -> Any:
    if panel.kind == BAR:
        return reports.BarPlot(
            title=panel.title, metrics=list(panel.keys), orientation="h", max_runs_to_show=runs, layout=layout
        )
    if panel.kind == MEDIA:
        return reports.MediaBrowser(title=panel.title, media_keys=list(panel.keys), layout=layout)
    if panel.kind == PARALLEL:
        columns = [_column(key, reports) for key in panel.keys]
        return reports.ParallelCoordinatesPlot(title=panel.title, columns=columns, layout=layout)
    return reports.LinePlot(
        title=panel.title,
        x="step",
        y=list(panel.keys),
        groupby=reports.Config(panel.group),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=runs,
        layout=layout,
    )


def _column(key: str, reports: Any) -> Any:
    """`fix.<factor>` is of the config, other keys are of the summary."""
    is_level = key.startswith("fix.")
    metric = reports.Config(key) if is_level else reports.SummaryMetric(key)
    return reports.ParallelCoordinatesPlotColumn(metric=metric, display_name=key.removeprefix("fix."))
