"""The rollouts of this project's own loop, held against their environment and the options of their runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.config import RunConfig
from harness.factors import ON
from harness.launch.probe_reference import declared_by
from harness.probe import Finding, Material, as_declared, files, material_of, replayed
from harness.records.layout import SweepFiles
from harness.records.schema import VALIDATION
from harness.sweep.plan import Sweep

SYMPTOMS = (  # the rows of a run name no tools
    *(symptom for symptom in replayed.FINDINGS if symptom is not replayed.tools_not_of_the_environment),
    as_declared.rewards_not_as_declared,
    as_declared.batches_not_as_declared,
    as_declared.turns_over_the_limit,
)
RANK = ("cannot tell", "absent", "present")


def by_reference(sweep: Sweep) -> Iterator[Finding]:
    """One finding for each symptom, of the run that says most."""
    materials = [made for config in sweep.config.runs if (made := _material(sweep, config))]
    for symptom in SYMPTOMS if materials else ():
        found = max((symptom(material) for material in materials), key=lambda each: RANK.index(each.verdict))
        yield replace(found, symptom=symptom.__name__, about=(symptom.__doc__ or "").strip())


def _material(sweep: Sweep, config: RunConfig) -> Material | None:
    """None where the run has played nothing."""
    path = SweepFiles(sweep.folder).run(config.run.name).trajectories
    if not path.is_file():
        return None
    declared = declared_by(config, sweep.domain)
    if config.seams.reward.level != ON:  # which asks what upstream's loop would have raised: no environment knows
        declared = replace(declared, reward=None)
    return material_of(_rows(files.rows_of(path)), environment=sweep.domain, declared=declared)


def _rows(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    return [row | {"split": "validation" if row["kind"] == VALIDATION else "train"} for row in rows]
