"""The sections of what is estimated beside the effects on the reference reward; each is left out where it is empty."""

from collections.abc import Iterator

from harness.records.load import SweepRecords
from harness.report.also_section import also_section
from harness.report.pass_section import pass_section
from harness.report.reported_section import reported_section
from harness.report.sections import Section
from harness.report.steps_section import steps_section
from harness.report.task_section import task_section
from harness.stats.sweep_statistics import SweepStatistics


def further_sections(found: SweepStatistics, sweep: SweepRecords) -> Iterator[Section]:
    """sweep: of which the statistics are, its main block"""
    for make in (reported_section, task_section, steps_section, pass_section):
        if section := make(found):
            yield section
    if further := also_section(sweep):
        yield further
