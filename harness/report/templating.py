"""The page's templates, scripts and style sheet: files of templates/."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"
SCRIPTS = ("tables.js", "curves.js", "rollouts.js")


def render(template: str, **values: Any) -> str:
    """HTML of a template; every value in it is escaped."""
    return _environment().get_template(template).render(**values)


def style() -> str:
    return (FOLDER / "style.css").read_text(encoding="utf-8")


def script() -> str:
    """Whatever it does, the page without it says the same."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True,
        loader=FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
