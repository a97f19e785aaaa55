"""What a sweep says of the note's claims: `python -m harness claims results/<sweep> [--json]`.

Prints confirmed, refuted, inconclusive or not tested here for each registered claim, with the numbers behind it;
a verdict that rests on one seed says so.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.errors import ConfigError
from harness.records.load import load_sweep
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, REFUTED, Verdict, load_claims, verdicts

REGISTERED = Path(__file__).resolve().parents[2] / "experiments" / "claims"
COLOURS = {CONFIRMED: "bold green", REFUTED: "bold red", INCONCLUSIVE: "bold yellow"}


def verdict_table(found: Sequence[Verdict]) -> Table:
    table = Table(box=None, padding=(0, 1, 1, 0), header_style="bold", pad_edge=False)
    for name in ("claim", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("evidence")
    for v in found:
        style = COLOURS.get(v.verdict, "dim")
        decision = Text(v.label, style=style) + Text(f"\n{v.parts.replace(', ', chr(10))}" if v.parts else "", "dim")
        evidence = Text("\n").join(Text(f"• {f.evidence}") for f in v.findings)
        table.add_row(f"({v.claim.id}) {v.claim.title}", decision, evidence)
    return table


def as_json(found: Sequence[Verdict]) -> str:
    """The verdicts as a JSON list; the same bytes for the same records."""
    rows = [
        {
            "id": v.claim.id,
            "title": v.claim.title,
            "source": v.claim.source,
            "statement": v.claim.statement,
            "prediction": v.claim.prediction,
            "verdict": v.verdict,
            "seeds": v.seeds,
            "parts": [{"verdict": f.verdict, "seeds": f.seeds, "evidence": f.evidence} for f in v.findings],
        }
        for v in found
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness claims", description=__doc__)
    parser.add_argument("sweep", type=Path, help="results/<sweep>")
    parser.add_argument("--claims", type=Path, default=REGISTERED, help="folder of claims")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        found = verdicts(load_sweep(options.sweep), load_claims(options.claims))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(as_json(found), end="")
    else:
        console = Console()
        (console if console.is_terminal else Console(width=140)).print(verdict_table(found))
    return 0
