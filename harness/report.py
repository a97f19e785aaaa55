"""`python -m harness.report results/<sweep>`: make the report of a sweep again, from its records."""

import sys

from harness.analysis.load import load_sweep
from harness.analysis.page import write_report
from harness.analysis.table import print_report
from harness.errors import HarnessError


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m harness.report results/<sweep>", file=sys.stderr)
        return 2
    try:
        sweep = load_sweep(arguments[0])
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print_report(sweep)
    print(write_report(sweep))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
