"""`python -m harness report results/<sweep>`: make the report of a sweep again, from its records."""

import argparse
import sys

from harness.errors import HarnessError
from harness.records.load import load_sweep
from harness.report.arm_table import print_report
from harness.report.page import write_report


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness report", description="Make a sweep's report again.")
    parser.add_argument("sweep", metavar="results/<sweep>", help="the sweep's folder")
    try:
        sweep = load_sweep(parser.parse_args(arguments).sweep)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print_report(sweep)
    print(write_report(sweep))
    return 0
