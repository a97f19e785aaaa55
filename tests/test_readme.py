"""README, the pages that it links and the maps of the folders say what is so."""

import ast
import re
from pathlib import Path

import pytest

from harness.fixes import registry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(p for f in ("docs", "experiments", "results") for p in (ROOT / f).glob("*.md"))]
ROOMS = sorted(p.parent for p in (ROOT / "harness").glob("**/__init__.py") if "stand_ins" not in p.parts)
SCREEN = 45  # lines
ESTIMATE = re.compile(r"[+−]?\d\.\d{3} \[[^\]]+\]")


def test_readme_is_one_screen_and_a_half():
    assert len(README.split()) <= 900


def test_its_table_of_fixes_says_what_they_declare():
    rows = [
        f"| `{f.name}` | {f.levels['off']} | {f.levels['on']} | {f.proof} | {f.today.split(':')[0]} |"
        for f in registry.note()
    ]
    assert "\n".join(rows) in README


def test_its_estimates_stand_in_the_reports_that_it_links():
    linked = re.findall(r"\((results/\w+/report\.md)\)", README)
    reports = "".join((ROOT / path).read_text(encoding="utf-8") for path in linked)
    verdict = README.split("## The verdict")[1]
    found = ESTIMATE.findall(verdict)
    assert len(found) >= 5
    assert [estimate for estimate in found if estimate not in reports] == []


def test_ci_runs_its_test_command():
    steps = ["python3 -m harness setup", ".venv/bin/python -m pytest"]
    assert " && ".join(steps) in README
    assert set(steps) <= set((ROOT / ".ci" / "run").read_text().splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for target in (t for t in targets if not t.startswith("http")):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_folder_has_a_map_of_one_screen_that_names_what_is_there(room):
    shown = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    files = {p.name for p in room.glob("*.py")} - {"__init__.py"}
    folders = {f"{p.name}/" for p in room.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    missing = {name for name in files | folders if not re.search(rf"(?<!\w){re.escape(name)}", shown)}
    assert missing == set()
    assert len(shown.splitlines()) <= SCREEN


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_map_names_no_file_that_is_gone(room):
    shown = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = set(re.findall(r"[\w/]+\.(?:py|jinja)\b", shown))
    places = (room, ROOT / "harness", ROOT)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
