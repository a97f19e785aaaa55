"""What a report says of a sweep that was looked at more than once, or before all of its planned seeds were there."""

from harness.report.effect_text import listed
from harness.stats.looks import ALPHA, LookedAt


def how_often(looks: LookedAt) -> str:
    """'looked at 3 times (after 2, 3 and 5 seeds)'; nothing for one look at all that was planned."""
    if len(looks.seeds) > 1:
        return f"looked at {len(looks.seeds)} times (after {listed([str(n) for n in looks.seeds])} seeds)"
    if looks.levels == (ALPHA,):
        return ""
    return "a first look" if looks.open_ended else f"an interim look (after {_seeds(looks.seeds[0])})"


def look_line(looks: LookedAt) -> str:
    """How the looks share the 5 %, as a caveat; nothing where there is nothing to share."""
    often = how_often(looks)
    if not often:
        return ""
    levels = listed([percent(level) for level in looks.levels])
    text = f"{often[0].upper()}{often[1:]}; each look's level is {levels} for an effect alone"
    if looks.extended:
        parts = f"each of the first four looks has a quarter of the {percent(ALPHA)}, later ones have nothing"
        text += f". The plan was {_seeds(looks.planned)}; beyond it {parts}. "
        if looks.error > ALPHA:
            text += (
                f"What the plan had spent before is not taken back: together these looks err in up to "
                f"{percent(looks.error)}. `stats.looks_planned` or `stats.looks=open`, given with the first start, "
                f"keeps that at {percent(ALPHA)}. "
            )
        return f"{text}p-values and intervals are those of looks that are planned so."
    if looks.open_ended:
        kept = "without an end (`stats.looks=open`)"
    elif looks.seeds[-1] < (looks.planned or 0):
        kept = f"the rest is kept for {_seeds(looks.planned)}, as planned"
    else:
        kept = f"as planned for {_seeds(looks.planned)}"
    text += f": together they err in no more than {percent(ALPHA)}, {kept}"
    return f"{text}. p-values and intervals hold over all looks."


def _seeds(planned: int | None) -> str:
    return f"{planned} seed{'s' * (planned != 1)}"


def percent(share: float) -> str:
    """`5 %`, `0.79 %`, `<0.01 %`"""
    of_100 = 100 * share
    return "<0.01 %" if 0 < of_100 < 0.01 else f"{of_100:.2g} %"
