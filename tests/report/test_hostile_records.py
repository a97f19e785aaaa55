"""A sweep's records may be anybody's: names, readings and errors are shown as text, wherever they are shown."""

import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

import tests.synthetic
from harness.records.load import load_sweep
from harness.report import arm_table, figures
from harness.report.markdown import CODE, inline, sentence
from harness.report.markup import svg
from harness.report.page import write_report
from tests.synthetic import keep_rollouts, make_invalid, rollout, run_name, write_json, write_status, write_sweep

ESCAPES = "\x1b]0;title\x07\x9b31m\x7f"
# without a slash, which the name of a run's folder cannot have
NAME = f"`c` |<img src=x onerror=alert(1)>[l](javascript:x)![i](y)[r][red]$x_{{$ {ESCAPES}\r\n# Heading"
TEXT = f"{NAME}\n\n<script>x</script> https://evil.example www.evil.example [/nothing] ```"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A sweep all of whose texts say more than they should."""
    monkeypatch.setattr(tests.synthetic, "run_name", lambda *of: run_name(*of) + NAME)
    monkeypatch.setattr(tests.synthetic, "TASKS", [task + TEXT for task in tests.synthetic.TASKS])
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"sweep": TEXT, "command": TEXT, "created": TEXT, "git": {"commit": TEXT}, "versions": {TEXT: TEXT}}
    manifest |= {"machine": {"cpu": TEXT}, "train_ids": [TEXT] * 3, "others": {TEXT: TEXT}, "design": TEXT}
    write_json(folder / "manifest.json", manifest)
    make_invalid(folder, "without_tools", "tools", TEXT)
    write_status(folder, "without_reward", state="failed", error=TEXT)
    for path in folder.glob("runs/*/*/checks.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line | {"text": TEXT}) + "\n" for line in lines))
    served = rollout(f"all_on/seed=0{NAME}", served=[1, 2], trained=[1, 3], task=TEXT, texts={"1": TEXT, "3": TEXT})
    said = {"role": TEXT, "content": TEXT, "tool_calls": [{"id": TEXT, "name": TEXT, "arguments": TEXT}]}
    keep_rollouts(folder, [served | {"messages": [said], "end": TEXT}])
    return folder


def controls(text: str) -> list[str]:
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


@pytest.mark.usefixtures("undrawn")
def test_the_markdown_has_no_tag_no_link_and_no_heading_of_theirs(hostile, tmp_path):
    write_report(load_sweep(hostile))
    harmless = write_sweep(tmp_path / "other", seeds=(0, 1))
    write_status(harmless, "without_reward", state="failed", error="no")
    make_invalid(harmless, "without_tools", "tools", "no")
    write_report(load_sweep(harmless))

    def parsed(folder):
        text = (folder / "report.md").read_text(encoding="utf-8")
        assert not controls(text)
        blocks = MarkdownIt("commonmark").enable("table").parse(text)
        inner = [token for block in blocks for token in block.children or ()]
        assert not {"html_block", "html_inline", "link_open"} & {token.type for token in (*blocks, *inner)}
        # what GitHub makes links of by itself, outside code
        assert not re.search(
            r"https?://|www\.", "\n".join(CODE.sub("", block.content) for block in blocks if block.children)
        )
        assert all(token.attrs["src"].startswith("figures/") for token in inner if token.type == "image")
        heads = [b.content for a, b in pairwise(blocks) if a.type == "heading_open"]
        cells = [token.type for token in blocks].count("td_open")
        return heads[1:], cells  # the first is the sweep's name

    assert parsed(hostile) == parsed(harmless)


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_page_has_no_tag_and_no_handler_of_theirs(hostile):
    page = write_report(load_sweep(hostile)).read_text(encoding="utf-8")
    found = Tags(page)
    assert not {"img", "x"} & found.tags
    assert page.count("<script") == 1
    assert not [name for name in found.attributes if name.startswith("on")]
    assert not controls(page)


def test_no_escape_sequence_and_no_markup_of_theirs_reaches_the_terminal(hostile, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stdout", shown)
    arm_table.print_report(load_sweep(hostile))
    assert "evil.example" in shown.getvalue()
    assert not controls(shown.getvalue())
    assert "[/nothing]" in shown.getvalue()  # as markup it would be an error


INLINE = [
    ("a|b", "a\\|b"),
    ("a\\|b", "a\\\\\\|b"),
    ("two\r\nlines", "two lines"),
    ("+0.54** [0.1, 0.2] <0.001", "+0.54** [0.1, 0.2] <0.001"),
    ("[a]: //b", "[a]\\: //b"),
]


@pytest.mark.parametrize(("text", "expected"), INLINE)
def test_a_text_of_the_records_is_written_so_that_it_stays_one(text, expected):
    assert inline(text) == expected


SENTENCES = [
    ("run `harness report results/<sweep>` again", "run `harness report results/<sweep>` again"),
    ("``<b>`", "``&lt;b>`"),  # no code: the runs of backticks are not of one length
    ("```<b>``", "```&lt;b>``"),
    ("`a``<b>`", "`a``<b>`"),  # one piece of code
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_what_a_sentence_shows_as_code_stays_as_it_is(text, expected):
    assert sentence(text) == expected


def test_a_console_that_takes_markup_is_not_what_reports_are_printed_to():
    assert isinstance(arm_table._console(), Console)
    assert arm_table._console().render_str("[link=x]y[/link]").plain == "[link=x]y[/link]"


def test_a_name_is_neither_a_formula_nor_an_attribute_of_a_figure():
    figure = figures._figure(2, 2)
    figure.suptitle("$x_{$ <b>")
    drawn = svg(figure, 'fix-"onload="', alt='"onload="')
    assert "$x_{$ &lt;b&gt;" in drawn
    assert not [name for name in Tags(drawn).attributes if name.startswith("on")]
