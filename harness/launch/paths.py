"""Where the configuration lives."""

from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"
