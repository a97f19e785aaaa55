"""Where files lie that are no code: beside the package in a clone, inside it in a wheel (setup.py puts them there).

Standard library only.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
WHEEL = (PACKAGE / "conf").is_dir()
CLONE = PACKAGE.parent  # of no meaning in a wheel

CONF = PACKAGE / "conf" if WHEEL else CLONE / "conf"
CLAIMS = PACKAGE / "claims" if WHEEL else CLONE / "experiments" / "claims"
LOCKS = PACKAGE / "machine" if WHEEL else CLONE  # of the trainer's environment; the server's are in `machine`
