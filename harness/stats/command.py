"""What a sweep says of the note's claims: `harness claims results/<sweep> [--json]`.

Prints confirmed, refuted, inconclusive or not tested here for each registered claim, with the numbers behind it;
a verdict that rests on one seed says so.
"""

from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.paths import CLAIMS
from harness.printed import printed
from harness.records.load import load_sweep
from harness.records.looks import record_look
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, REFUTED, Verdict, load_claims, verdicts
from harness.stats.reward_range import CUT, is_cut

COLOURS = {CONFIRMED: "bold green", REFUTED: "bold red", INCONCLUSIVE: "bold yellow"}


def verdict_table(found: Sequence[Verdict], baseline: str) -> Table:
    table = Table(box=None, padding=(0, 1, 1, 0), header_style="bold", pad_edge=False)
    table.title, table.title_justify = f"baseline {baseline}", "left"
    for name in ("claim", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for v in found:
        style = COLOURS.get(v.verdict, "dim")
        decision = Text(v.label, style=style) + Text(f"\n{v.parts.replace(', ', chr(10))}" if v.parts else "", "dim")
        evidence = Text("\n").join(
            [*(Text(f"• {f.evidence}") for f in v.findings), *(Text(line, style="dim") for line in v.claim.remarks)]
        )
        table.add_row(f"({v.claim.id}) {v.claim.title}", decision, evidence)
    if any(is_cut(v.evidence) for v in found):
        table.caption, table.caption_justify = CUT, "left"
    return table


def as_json(found: Sequence[Verdict], baseline: str) -> str:
    """The same text for the same records."""
    rows = [
        {
            "id": v.claim.id,
            "title": v.claim.title,
            "source": v.claim.source,
            "statement": v.claim.statement,
            "prediction": v.claim.prediction,
            "would_confirm": v.claim.would_confirm,
            "note": v.claim.note,
            "changes": v.claim.changes,
            "verdict": v.verdict,
            "seeds": v.seeds,
            "parts": [{"verdict": f.verdict, "seeds": f.seeds, "evidence": f.evidence} for f in v.findings],
        }
        for v in found
    ]
    return printed({"baseline": baseline, "claims": rows})


def run(asked: Namespace) -> int:
    record_look(asked.sweep)
    sweep = load_sweep(asked.sweep)
    found = verdicts(sweep, load_claims(asked.claims or CLAIMS))
    if asked.json:
        print(as_json(found, sweep.baseline))
    else:
        width = None if Console().is_terminal else 140
        Console(width=width, markup=False, emoji=False).print(verdict_table(found, sweep.baseline))
    return 0
