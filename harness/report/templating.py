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


def style(*more: str) -> str:
    """more: names of further style sheets"""
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("style.css", *more))


def script(*more: str) -> str:
    """Whatever it does, the page without it says the same. more: names of further scripts"""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in (*SCRIPTS, *more))


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True,
        loader=FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
