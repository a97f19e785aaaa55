"""`harness report results/<sweep>`: make the report of a sweep again, from its records."""

from argparse import Namespace

from harness.records.load import load_sweep
from harness.records.looks import record_look
from harness.report.arm_table import print_report
from harness.report.page import write_report


def run(asked: Namespace) -> int:
    record_look(asked.sweep)
    sweep = load_sweep(asked.sweep)
    print_report(sweep)
    print(write_report(sweep))
    return 0
