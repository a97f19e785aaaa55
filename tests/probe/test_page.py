"""`harness probe --page FILE`: one HTML file that says all that was found, whoever wrote what it shows."""

import json
import os
from html.parser import HTMLParser

import pytest

from harness.commands import run_command
from harness.launch import probe_loop
from harness.launch.probe_page import page
from harness.launch.probed import address
from harness.policy import MICRO
from harness.probe import SYMPTOMS, check
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.text import ORDER
from tests.probe.loops import loop
from tests.probe.test_endpoint import Sound, Toolless, serving

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>'\""


class Read(HTMLParser):
    """A page as a reader has it. text: what is seen at once; tips: what a tooltip says"""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.ids, self.described = [], [], [], []
        self.seen, self.tips, self.cut, self.inside = [], [], {"del": [], "ins": [], "h2": [], "h3": []}, []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.described += [value for name, value in attrs if name == "aria-describedby"]
        if tag not in ("meta", "br"):
            self.inside.append("tip" if given.get("role") == "tooltip" else tag)

    def handle_endtag(self, tag):
        self.inside.pop()

    def handle_data(self, data):
        if self.inside and self.inside[-1] in self.cut:
            self.cut[self.inside[-1]].append(data)
        if "style" not in self.inside:
            (self.tips if "tip" in self.inside else self.seen).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.seen).split())


def paged(path, *options):
    """The exit code, and the page that was written."""
    code = run_command("probe", [*map(str, options), "--page", str(path)])
    return code, Read(path.read_text(encoding="utf-8")) if path.exists() else None


def without_tools():
    given = loop()
    for group in given["trajectories"]:
        for one in group:
            one["trained_ids"] = [i for i in one["trained_ids"] if not 40 <= i < 60]
            one.pop("trained_mask")
    return given


@pytest.fixture
def chat(tmp_path):
    row = {"messages": [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "3"}], "reward": 1.0}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row))
    return tmp_path / "chat.jsonl"


def test_each_symptom_has_its_verdict_its_sentence_and_what_would_tell_it():
    findings = check(**without_tools())
    read = Read(page(findings, (), 3))
    assert {found.verdict for found in findings} == set(ORDER)
    for found in findings:
        assert found.text in read.text
        assert found.symptom.replace("_", " ").capitalize() in read.text
        assert found.verdict != "present" or found.about in read.text
        assert not found.tell or read.text.count(f"To tell: {found.tell}") >= 1
    counts = {verdict: sum(found.verdict == verdict for found in findings) for verdict in ORDER}
    heads = [f"Present ({counts['present']})", f"Cannot be told ({counts['cannot tell']})"]
    assert read.cut["h2"] == [*heads, f"Absent ({counts['absent']})", "What was looked at"]
    assert f"{len(findings)} symptoms present" in read.text and "Exit code 3: a symptom is present." in read.text


def test_where_nothing_is_present_it_says_so():
    read = Read(page([absent("all is well", n=1)], (), 0))
    assert "Exit code 0: no symptom is present." in read.text and "Present (0) None." in read.text


def test_the_first_token_that_differs_is_marked_in_what_was_served_and_in_what_is_trained():
    findings = [f for f in check(**without_tools()) if f.symptom == "tools_not_trained"]
    read = Read(page(findings, (), 3))
    assert "first difference at token 6" in read.text
    assert (read.cut["del"], read.cut["ins"]) == (["add"], ["w21"])


def test_names_of_numbers_and_symptoms_as_programs_have_them_stand_in_tooltips_alone():
    findings = check(**without_tools())
    read = Read(page(findings, (), 3))
    (found,) = [f for f in findings if f.symptom == "tools_not_trained"]
    assert "rollouts 32, without_tools 32" in read.tips and found.reading["without_tools"] == 32
    said = read.text
    for each in findings:  # what would tell names fields and options, for whoever adds them
        said = said.replace(each.tell, "")
    names = {name for each in findings for name in (each.symptom, *each.reading) if "_" in name}
    assert len(names) > 60 and not [name for name in names if name in said]


def test_it_is_read_without_a_script_without_a_network_on_a_phone_and_in_the_dark():
    html = page(check(**without_tools()), (), 3)
    read = Read(html)
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert all(value.startswith("#") for name, value in read.attributes if name in ("href", "src"))
    assert "default-src 'none'" in html and "width=device-width" in html and "prefers-color-scheme: dark" in html


def test_each_tooltip_is_reached_by_the_keyboard():
    read = Read(page(check(**without_tools()), (), 3))
    assert len(read.ids) == len(set(read.ids)) and read.described
    assert set(read.described) <= set(read.ids)
    assert len(read.described) <= sum(each == ("tabindex", "0") for each in read.attributes)


def test_no_text_of_a_policy_a_server_or_a_file_becomes_markup():
    every = {"symptom": EVIL, "about": EVIL, "text": EVIL, "reading": {EVIL: 1.0}}
    shown = (EVIL, f"served   {EVIL}⟦{EVIL}⟧{EVIL}", f"trained  {EVIL}⟦{EVIL}⟧{EVIL}")
    findings = [
        Finding("present", **every, shown=shown),
        Finding("cannot tell", **every, tell=EVIL),
        Finding("absent", **every),
    ]
    html = page(findings, ((EVIL, EVIL),), 3)
    assert not {"script", "img"} & set(Read(html).tags) and "<script" not in html
    assert Read(html).cut["del"] == [EVIL] and html.count("&lt;script&gt;") > 12


@pytest.mark.parametrize("where", ["model", "task", "end", "error", "content", "name"])
def test_hostile_rollouts_are_shown_as_text(where, tmp_path):
    given = loop()
    rows = [one | {"group": str(n)} for n, group in enumerate(given["trajectories"]) for one in group]
    for row in rows:
        if where == "model":
            row["turns"] = [turn | {"model": EVIL, "adapter_logprobs": None} for turn in row["turns"]]
        elif where == "content":
            row["messages"] = [message | {"content": EVIL} for message in row["messages"]]
        elif where == "name":
            row["messages"][2]["tool_calls"][0]["function"]["name"] = EVIL
        else:
            row[where] = EVIL
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, read = paged(tmp_path / "page.html", "--trajectories", tmp_path / "rows.jsonl")
    assert not {"script", "img"} & set(read.tags)
    assert (EVIL in read.text) == (where in ("model", "task"))


def test_hostile_tools_and_a_hostile_file_name_are_shown_as_text(tmp_path, chat):
    named = chat.rename(tmp_path / "<script>alert(1)<x>.jsonl")
    schema = {"type": "function", "function": {"name": "f", "description": EVIL, "parameters": {"type": "object"}}}
    (tmp_path / "<img src=x>").write_text(json.dumps([schema | {EVIL: EVIL}]))
    options = ["--trajectories", named, "--tools", tmp_path / "<img src=x>", "--tokenizer", MICRO, "--template", MICRO]
    code, read = paged(tmp_path / "page.html", *options)
    assert code == 3 and not {"script", "img", "x"} & set(read.tags)
    assert str(named) in read.text and str(tmp_path / "<img src=x>") in read.text


def test_bytes_that_are_no_text_and_control_characters_are_written_out(tmp_path):
    named = tmp_path / os.fsdecode(b"\xff\x1b[2J.jsonl")
    row = {"messages": [{"role": "assistant", "content": "x"}], "task": "\ud800\x1b", "reward": 1.0, "step": 1}
    named.write_text(json.dumps([[row], [row]]))
    code, read = paged(tmp_path / "page.html", "--trajectories", named)
    assert code == 3 and "\\udcff\\x1b[2J.jsonl" in read.text and "\\ud800\\x1b" in read.text


def test_of_files_it_says_which_and_how_much_was_in_them(tmp_path, chat, capsys):
    (tmp_path / "tasks.txt").write_text("1 2 3")
    (tmp_path / "updates.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    options = ["--trajectories", chat, "--tasks", tmp_path / "tasks.txt", "--updates", tmp_path / "updates.jsonl"]
    code, read = paged(tmp_path / "page.html", *options)
    assert code == 0
    for said in (
        f"files of rollouts {chat} what they are chat rollouts 1 rollout in 1 group",
        "replies 1; 0 with their prompt's token ids, 0 with log-probs trained contexts 0 of 1 rollout",
        f"training calls 2 in {tmp_path / 'updates.jsonl'} tasks that exist 3 in {tmp_path / 'tasks.txt'}",
    ):
        assert said in read.text
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "page.html")


def test_of_an_endpoint_it_says_which_and_never_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(Toolless()) as url:
        code, read = paged(tmp_path / "page.html", "--url", url, "--model", "base", "--adapter", "p@1")
    assert code == 3 and "Tools ignored" in read.text
    assert f"endpoint {url} base model base adapters p@1 questions 16, at temperature 0 but for two" in read.text
    assert "sk-secret" not in (tmp_path / "page.html").read_text()


def test_an_address_is_shown_without_what_may_be_a_key():
    assert address("https://user:key@host:8000/v1?api-key=key#key") == "https://host:8000/v1"


def test_of_the_projects_own_loop_each_fix_has_its_verdict(tmp_path, monkeypatch):
    told = present("0 of 30 begin with the tools", share_equal=0.0), cannot_tell("no rollout calls", "more rollouts")
    monkeypatch.setattr(probe_loop, "findings", lambda options: list(told))
    code, read = paged(tmp_path / "page.html", "fix/tools=off", "env=mock")
    assert code == 3 and "0 of 30 begin with the tools" in read.text and "To tell: more rollouts" in read.text
    assert "this project's own" in read.text and "fix/tools=off env=mock" in read.text


def test_json_is_printed_beside_the_page(tmp_path, chat, capsys):
    code, read = paged(tmp_path / "page.html", "--trajectories", chat, "--json")
    assert len(json.loads(capsys.readouterr().out)["findings"]) == len(SYMPTOMS) and (code, len(read.cut["h2"])) == (
        0,
        4,
    )


def test_an_earlier_page_is_written_over(tmp_path, chat):
    for _ in range(2):
        code, read = paged(tmp_path / "page.html", "--trajectories", chat)
        assert code == 0 and read
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat.jsonl", "page.html"]


WRONG = [
    (["--trajectories", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
    (["--trajectories", "chat.jsonl", "--template", "x"], "--template needs"),
    (["--url", "http://127.0.0.1:9/v1"], "--url needs the base model's name"),
    (["--url", "http://127.0.0.1:9/v1", "--model", "base"], "gave no answer"),
    (["fix/tool=off"], "No fix is called 'tool'"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=lambda p: " ".join(p) if isinstance(p, list) else "")
def test_where_the_input_is_wrong_nothing_is_written(options, said, tmp_path, chat, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, read = paged(tmp_path / "page.html", *options)
    assert code in (1, 2) and read is None and said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["chat.jsonl"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("gone/page.html", "The page cannot go to gone/page.html: there is no folder gone. Make it, or name another."),
        ("folder", "folder is a folder. Name a file in it: --page folder/probe.html."),
        ("chat.jsonl", "chat.jsonl is there and no HTML page, so it is not written over. Name another file."),
        ("chat.jsonl/page.html", "The page cannot go to chat.jsonl/page.html: there is no folder chat.jsonl."),
        ("pipe", "pipe is there and no HTML page"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_anything_is_asked(
    file, said, tmp_path, chat, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = chat.read_bytes()
    server = Sound()
    with serving(server) as url:
        assert run_command("probe", ["--url", url, "--model", "base", "--page", file]) == 2
    out = capsys.readouterr()
    assert out.err.startswith(f"harness probe: {said}") and out.out == "" and server.asked == []
    assert chat.read_bytes() == before


def test_help_names_it(capsys):
    with pytest.raises(SystemExit):
        run_command("probe", ["--help"])
    assert "--page FILE" in capsys.readouterr().out
