"""A colour for each line, however many there are. For a light page; a dark one inverts figures and keeps their hues."""

import math
from collections.abc import Iterator
from itertools import count

# Okabe and Ito's, safe for colour-blind readers
FIRST = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7a5c00", "#56B4E9", "#E69F00")
LIGHTNESS = (0.65, 0.45, 0.55, 0.35)  # at most .65: a contrast of 3 against white
CHROMA = 0.1
HUE, TURN = 285.0, 222.5  # degrees; a turn by the golden angle leaves no two hues close for long


def palette() -> Iterator[str]:
    """The first ones, then turns around the circle of hues (OKLCH). The n-th is the same however many are drawn."""
    yield from FIRST
    for n in count():
        yield _oklch(LIGHTNESS[n % len(LIGHTNESS)], CHROMA, HUE + n * TURN)


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """As #rrggbb; Björn Ottosson, A perceptual color space for image processing (2020)"""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * _srgb(part)) for part in (red, green, blue)))


def _srgb(linear: float) -> float:
    """Gamma; what the screen cannot show is cut."""
    cut = min(max(linear, 0.0), 1.0)
    return 12.92 * cut if cut <= 0.0031308 else 1.055 * cut ** (1 / 2.4) - 0.055
