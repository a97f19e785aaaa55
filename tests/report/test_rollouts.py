"""Rollouts on the page: what one was, how it was trained on, and the same place in another arm."""

import re

import pytest

from harness.commands import run_command
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.report import rollout_section
from harness.report.arm_rows import arms_in_order
from harness.report.page import write_report
from harness.report.rollout_section import rollouts_of
from harness.report.rollout_views import rollout_views
from harness.report.task_grid import task_grid
from tests.synthetic import keep_rollouts, leave_one_out, make_invalid, rollout, write_sweep

pytestmark = pytest.mark.usefixtures("undrawn")

BASE = "98c0f878ffcb2925"
ARMS = ("all_on", "without_endpoint", "without_tools")


@pytest.fixture
def sweep(tmp_path):
    """Three arms that took a gradient step in each of six steps. Called with the rollouts that it keeps."""

    def make(*rollouts):
        folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:3], content={"policy": BASE})
        keep_rollouts(folder, rollouts)
        return load_sweep(folder)

    return make


def facts(view):
    return dict(view.facts)


def html(sweep):
    return "\n".join(rollouts_of(sweep).html)


def test_a_rollout_says_its_reward_its_parts_and_its_end(sweep):
    (view,) = rollout_views(sweep(rollout("all_on/seed=0", end="turn_limit", db_match=True)))
    assert facts(view) | {"weights that answered": ""} == {
        "reward that was trained on": "0.400",
        "reward of the benchmark": "0.000",
        "expected tool calls made": "1 of 2",
        "database as it should be": "yes",
        "how it ended": "the user ended the conversation",
        "weights that answered": "",
    }


ANSWERED = [
    (0, BASE, "98c0f878: those of the first checkpoint, and this run had made no update yet"),
    (5, BASE, "98c0f878: those of the first checkpoint, although this run had made 5 updates"),
    (5, "4650aadff12f7f79", "4650aadf, after 5 updates of this run"),
]


@pytest.mark.parametrize(("step", "by", "said"), ANSWERED)
def test_the_weights_that_answered_are_held_against_the_updates_made(sweep, step, by, said):
    (view,) = rollout_views(sweep(rollout("without_endpoint/seed=0", step=step, by=by)))
    assert facts(view)["weights that answered"] == said


TOKENS = [
    ([1, 2, 3], [1, 2, 3], "Trained on exactly what was served: 3 tokens.", []),
    ([1, 2, 3], [], "Nothing of its 3 served tokens was trained on", []),
    ([1, 7, 8, 2], [1, 2], "2 of 4 served tokens were missing", ["same", "served", "same"]),
    ([1, 2, 3], [1, 9, 3], "first differ at token 1", ["same", "served", "trained", "same"]),
]


@pytest.mark.parametrize(("served", "trained", "said", "kinds"), TOKENS)
def test_served_and_trained_tokens_are_compared_one_by_one(sweep, served, trained, said, kinds):
    (view,) = rollout_views(sweep(rollout("without_tools/seed=0", served=served, trained=trained)))
    assert said in view.compared
    assert [piece.kind for piece in view.pieces] == kinds
    assert [i for piece in view.pieces if piece.kind != "trained" for i in piece.ids] == (served if kinds else [])


def test_a_difference_is_shown_in_the_words_of_the_policy(sweep):
    texts = {"1": "Be brief.", "7": "# Tools", "2": "Hi"}
    text = html(sweep(rollout("without_tools/seed=0", served=[1, 7, 2], trained=[1, 2], texts=texts)))
    assert re.search(r"Be brief\.<del [^>]*># Tools</del>Hi</pre>", text)


def test_arms_with_the_same_rollout_share_one_and_others_have_their_own(sweep):
    found = sweep(*(rollout(f"{arm}/seed=0", trained=[1] if arm == "without_tools" else [1, 2]) for arm in ARMS))
    assert [view.arms for view in rollout_views(found)] == [("all_on", "without_endpoint"), ("without_tools",)]
    text = html(found)
    cells = re.findall(r'<td[^>]*><a href="#([^"]+)">0\.40</a>', text)
    assert len(cells) == 3 and len(set(cells)) == 2
    assert set(cells) == set(re.findall(r'<article id="([^"]+)"', text))
    for arm, cell in zip(arms_in_order(found), cells, strict=True):
        (opened,) = re.findall(rf'<article id="{cell}".*?</article>', text, re.DOTALL)
        assert ("without_tools" in opened) == (arm == "without_tools")


def test_a_row_is_one_task_with_the_same_luck(sweep):
    text = html(sweep(*(rollout(f"{arm}/seed=0", task=task) for arm in ARMS for task in ("b", "a"))))
    assert re.findall(r'data-place="([^"]+)"', text) == ["a, rollout 0, seed 0, step 0", "b, rollout 0, seed 0, step 0"]


def test_the_conversation_shows_the_calls(sweep):
    text = html(sweep(rollout("all_on/seed=0")))
    assert "Please close task_63." in text
    assert "<code>close_task {&#34;id&#34;: &#34;task_63&#34;}</code>" in text


def test_what_has_no_room_is_left_out_with_a_sentence(sweep, monkeypatch):
    monkeypatch.setattr(rollout_section, "ROOM", 1_500)
    kept = [rollout(f"{arm}/seed=0", number=number) for arm in ARMS for number in range(3)]
    text = html(sweep(*kept))
    assert "6 further rollouts have no room on this page" in text
    assert text.count("<article") == 1


def test_what_has_no_room_is_in_files_beside_the_page(sweep, monkeypatch):
    monkeypatch.setattr(rollout_section, "ROOM", 1_500)
    found = sweep(*(rollout(f"{arm}/seed=0", number=number) for arm in ARMS for number in range(3)))
    report = write_report(found)
    files = [report, *SweepFiles(found.folder).further_rollouts]
    assert [str(path.relative_to(found.folder)) for path in files] == [
        "report.html",
        "rollouts/2.html",
        "rollouts/3.html",
    ]
    texts = {path: path.read_text() for path in files}
    assert [text.count("<article") for text in texts.values()] == [1, 1, 1]
    assert "6 further rollouts, in files beside this page" in texts[report] and "no room" not in texts[report]
    assert all('<a href="../report.html#rollouts">' in texts[path] for path in files[1:])
    links = re.findall(r'href="((?:rollouts/\d.html)?)#(rollout-[^"]+)"', texts[report])
    assert len(links) == 9
    for file, anchor in links:
        assert f'<article id="{anchor}">' in texts[report.parent / (file or "report.html")]
    for text in texts.values():  # the script opens the page's own rollouts and leaves links to others alone
        opened = re.findall(r'<table class="heat grid opens rollouts">.*?</table>', text, re.DOTALL)
        assert len(opened) == 1 and 'href="rollouts/' not in opened[0]


def test_an_archived_sweep_has_no_such_files(sweep, monkeypatch, capsys):
    monkeypatch.setattr(rollout_section, "ROOM", 1_500)
    found = sweep(*(rollout(f"{arm}/seed=0", number=number) for arm in ARMS for number in range(3)))
    report = write_report(found)
    assert 'href="rollouts/2.html#' in report.read_text()
    assert run_command("archive", [str(found.folder)]) == 0
    assert not (found.folder / "rollouts").exists()
    text = report.read_text()
    assert 'href="rollouts/' not in text and "6 further rollouts have no room on this page" in text


def test_files_of_an_earlier_report_are_removed(sweep):
    found = sweep(rollout("all_on/seed=0"))
    old = found.folder / "rollouts" / "2.html"
    old.parent.mkdir()
    old.touch()
    write_report(found)
    assert not old.parent.exists()


def test_a_sweep_without_a_sample_says_why(sweep):
    assert "keeps no rollouts" in html(sweep())


def test_a_cell_of_the_held_out_tasks_opens_its_episode(sweep):
    kept = [rollout(f"{arm}/seed=0", task="task-20", step=6, trained=(), kind="validation") for arm in ARMS]
    found = sweep(*kept)
    (view, *_) = rollout_views(found)
    assert "reward that was trained on" not in facts(view)
    assert view.compared == "An episode of the validation: nothing of it is trained on."
    section = rollouts_of(found)
    anchor = section.held_out["all_on", "task-20"]
    assert f'<article id="{anchor}">' in "".join(section.html)
    row = next(part for part in task_grid(found, section.held_out).split("<tr") if ">task-20<" in part)
    assert row.count(f'<a href="#{anchor}">') == 3  # all arms have it alike


def test_a_cell_opens_no_episode_of_a_run_that_is_invalid(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], seeds=(0, 1))
    held_out = {"task": "task-20", "step": 6, "trained": (), "kind": "validation"}
    keep_rollouts(folder, [rollout(f"all_on/seed={seed}", by=f"of {seed}", **held_out) for seed in (0, 1)])
    make_invalid(folder, "all_on", "endpoint", "the first checkpoint answered")
    section = rollouts_of(load_sweep(folder))
    (opened,) = re.findall(
        rf'<article id="{section.held_out["all_on", "task-20"]}".*?</article>', "".join(section.html), re.DOTALL
    )
    assert "of 1" in opened and "of 0" not in opened
