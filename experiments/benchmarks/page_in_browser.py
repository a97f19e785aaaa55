"""Whether a sweep's page works in a real browser: python -m experiments.benchmarks.page_in_browser results/cpu_24_steps

Opens report.html in Chromium at the widths of a desktop and a phone, light and dark, with and without JavaScript. Each
line of its output is a promise of the page and whether it is kept; the exit code is 1 where one is not. --shots FOLDER
keeps pictures.

No test of the suite: it needs Chromium (Debian: `apt-get install chromium`) and `pip install playwright`, and the
harness needs neither. `.ci/run` starts it where Chromium is installed.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = 1280, 390
Kept = tuple[str, bool]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", type=Path, help="a folder with a report.html")
    parser.add_argument("--shots", type=Path, help="where pictures go")
    asked = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("No playwright here: `pip install playwright`.", file=sys.stderr)
        return 2
    if browser is None:
        print("No Chromium here: `apt-get install chromium`.", file=sys.stderr)
        return 2
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        kept = list(promises(opened, (asked.sweep / "report.html").resolve(), asked.shots))
        opened.close()
    for promise, holds in kept:
        print(f"{'yes' if holds else 'NO '} {promise}")
    return 0 if all(holds for _, holds in kept) else 1


def promises(browser: "Browser", report: Path, shots: Path | None) -> Iterator[Kept]:
    for width in (DESKTOP, PHONE):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            troubles: list[str] = []
            page.on("pageerror", lambda error, kept=troubles: kept.append(str(error)))
            page.on("console", lambda message, kept=troubles: kept.append(message.text))
            page.goto(report.as_uri())
            here = f"at {width} px, {scheme}"
            yield f"{here}: nothing is wider than the screen", _fits(page, width)
            yield f"{here}: light and dark are as asked", _is_dark(page) == (scheme == "dark")
            if shots:
                shots.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=shots / f"page-{width}-{scheme}.png", full_page=True)
            for promise, holds in (*_curves(page), *_tables(page), *_rollouts(page, width, shots and shots / scheme)):
                yield f"{here}: {promise}", holds
            yield f"{here}: no error and no message of the browser", not troubles
            page.close()
    yield from _without_script(browser, report)


def _fits(page: "Page", width: int) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


def _is_dark(page: "Page") -> bool:
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")) < 3 * 128


def _curves(page: "Page") -> Iterator[Kept]:
    boxes = page.locator(".legend input")
    if not boxes.count():
        return
    line = page.locator("g.line").first
    boxes.first.focus()
    page.keyboard.press("Space")
    yield "a key switches a curve off", not line.is_visible()
    page.keyboard.press("Space")
    yield "and on again", line.is_visible()
    spot = page.locator("g.line circle").last.bounding_box()
    assert spot is not None
    page.mouse.move(spot["x"] + 1, spot["y"] + 1)
    yield "the pointer reads a curve", "step" in page.locator(".readout").inner_text()


def _tables(page: "Page") -> Iterator[Kept]:
    rows, head = page.locator("table.arms tbody tr"), page.locator("table.arms th", has_text="last").first
    before = rows.all_inner_texts()
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    column = page.locator("table.arms th").all_inner_texts().index(head.inner_text())
    values = [float(row.split("\t")[column]) for row in rows.all_inner_texts() if row.split("\t")[column] != "–"]
    yield "a key sorts the arms", values == sorted(values, reverse=True)
    page.get_by_label("Show only arms with").fill("all_on")
    yield "a word filters them", rows.locator("visible=true").count() < max(2, len(before))
    page.get_by_label("Show only arms with").fill("")
    yield "and none is lost", sorted(rows.all_inner_texts()) == sorted(before)


def _rollouts(page: "Page", width: int, shot: Path | None) -> Iterator[Kept]:
    """Those of the held-out tasks, if there are any, and those of training."""
    for grid in ("table.opens:not(.rollouts)", "table.rollouts"):
        cells = page.locator(f"{grid} a").locator("visible=true")
        if not cells.count():
            continue
        cells.nth(cells.count() // 2).focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        articles = dialog.locator("article")
        yield f"{grid}: a key opens two arms side by side", articles.count() == 2 and articles.first.is_visible()
        choice = dialog.get_by_role("combobox").first
        arm = ""
        for arm in choice.locator("option").all_inner_texts():
            choice.select_option(label=arm)
            if dialog.locator("del").count():
                break
        yield f"{grid}: another arm can be chosen ({arm})", articles.first.is_visible()
        yield (
            f"{grid}: nothing of them is wider than the screen",
            bool(dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")),
        )
        if shot:
            page.screenshot(path=shot.with_name(f"rollout-{width}-{shot.name}.png"))
        page.keyboard.press("Escape")
        yield f"{grid}: Escape closes them", not dialog.is_visible()


def _without_script(browser: "Browser", report: Path) -> Iterator[Kept]:
    context = browser.new_context(java_script_enabled=False, viewport={"width": DESKTOP, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri())
    yield "without JavaScript: the verdict and the curves are there", page.locator(".verdict").is_visible()
    cells = page.locator("table.rollouts a")
    if cells.count():
        cell = cells.nth(cells.count() // 2)
        anchor = cell.get_attribute("href")
        cell.click()
        yield "without JavaScript: a cell leads to its rollout", page.locator(f"article{anchor}").is_visible()
    context.close()


if __name__ == "__main__":
    raise SystemExit(main())
