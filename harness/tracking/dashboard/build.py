"""The dashboard as objects of wandb-workspaces. Its two modules are passed in, so that this loads without them."""

from typing import Any

from harness.tracking.dashboard.spec import Dashboard, Panel


def workspace(spec: Dashboard, workspaces: Any, reports: Any) -> Any:
    """A `wandb_workspaces.workspaces.Workspace`, not saved yet. Its panels show the sweep's runs only."""
    return workspaces.Workspace(
        entity=spec.entity,
        project=spec.project,
        name=spec.title,
        sections=[
            workspaces.Section(name=s.name, panels=_panels(s.panels, reports), is_open=n < 2)
            for n, s in enumerate(spec.sections)
        ],
        settings=workspaces.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=workspaces.RunsetSettings(
            filters=_of_group(spec),
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
            groupby=[f"config.{section.panels[0].group}"],
        )
        grid = reports.PanelGrid(runsets=[runs], panels=_panels(section.panels, reports))
        blocks += [reports.H2(section.name), grid]
    return reports.Report(entity=spec.entity, project=spec.project, title=spec.title, blocks=blocks, width="fluid")


def _of_group(spec: Dashboard) -> str:
    return f"Metric('Group') == {spec.group!r}"


def _panels(panels: tuple[Panel, ...], reports: Any) -> list[Any]:
    """Three panels in a row of a 24 units wide grid."""
    return [
        reports.LinePlot(
            title=panel.title,
            x="step",
            y=list(panel.keys),
            groupby=reports.Config(panel.group),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=100,
            layout=reports.Layout(x=8 * (n % 3), y=6 * (n // 3), w=8, h=6),
        )
        for n, panel in enumerate(panels)
    ]
