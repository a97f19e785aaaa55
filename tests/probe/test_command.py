"""`harness probe --trajectories`: what it prints, how it ends, and what it refuses."""

import json

import pytest

from harness.commands import run_command
from harness.policy import MICRO
from tests.probe.loops import loop

SCHEMAS = json.dumps(loop()["trajectories"][0][0]["sent_tools"])


def probed(capsys, *options):
    code = run_command("probe", [*map(str, options)])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def sound(tmp_path):
    given = loop()
    rows = [one | {"group": n} for n, group in enumerate(given["trajectories"]) for one in group]
    (tmp_path / "sound.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "updates.jsonl").write_text("\n".join(map(json.dumps, given["updates"])))
    (tmp_path / "tasks.txt").write_text("\n".join(map(str, range(200))))
    asked = [{"messages": [{"role": "assistant", "content": "x"}], "task": str(t), "reward": 1.0} for t in (100, 101)]
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, asked)))
    return tmp_path


def everything(folder):
    return [
        *("--trajectories", folder / "sound.jsonl", "--validation", folder / "validation.jsonl"),
        *("--updates", folder / "updates.jsonl", "--tasks", folder / "tasks.txt", "--exact"),
    ]


def test_of_a_sound_loop_nothing_is_present_and_it_ends_with_0(sound, capsys):
    code, said, _ = probed(capsys, *everything(sound))
    lines = said.splitlines()
    assert (code, lines[0]) == (0, "32 rollouts in 8 groups, chat")
    assert lines[-1] == "0 of 105 symptoms present, 35 cannot be told"
    assert sum(line.startswith("absent ") for line in lines) == 70 and "present" not in "".join(lines[:-1])


def test_what_is_present_comes_first_with_what_it_is_and_it_ends_with_3(sound, capsys):
    (sound / "tasks.txt").write_text("1 2 3")
    code, said, _ = probed(capsys, *everything(sound))
    lines = said.splitlines()
    assert (code, lines[1]) == (3, "present      tasks_that_do_not_exist: 7 of 10 task ids do not exist")
    assert lines[2].strip() == "Task ids are asked that do not exist, which a loop may score 0 without a word."


def test_what_cannot_be_told_says_once_what_would_tell_it(sound, capsys):
    code, said, _ = probed(capsys, "--trajectories", sound / "sound.jsonl")
    assert code == 0 and "to tell: a digest of the adapter's file before and after a training call" in said
    assert said.count("to tell: ") == len({line for line in said.splitlines() if "to tell: " in line})


def test_json_has_the_findings_and_the_names_of_those_that_are_present(sound, capsys):
    code, said, _ = probed(capsys, *everything(sound), "--json")
    found = json.loads(said)
    assert (code, found["present"], len(found["findings"])) == (0, [], 105)
    assert found["source"] == "32 rollouts in 8 groups, chat"


def test_with_a_template_and_a_tokenizer_a_chat_tells_whether_tools_are_trained(tmp_path, capsys):
    messages = [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "3"}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": messages, "reward": 1.0}))
    schema = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
    (tmp_path / "tools.json").write_text(json.dumps([schema]))
    options = ["--trajectories", tmp_path / "chat.jsonl", "--tools", tmp_path / "tools.json"]
    code, said, _ = probed(capsys, *options, "--tokenizer", MICRO, "--template", MICRO)
    assert code == 3 and "present      tools_not_trained: 1 of 1" in said and "⟦" in said
    code, said, _ = probed(capsys, *options)
    assert code == 0 and "cannot tell  tools_not_trained: the source does not say which tools the trainer has" in said


def test_control_characters_of_a_policy_do_not_reach_the_terminal(tmp_path, capsys):
    row = {"messages": [{"role": "assistant", "content": "x"}], "task": "\x1b[2J", "reward": 1.0, "step": 1}
    (tmp_path / "chat.jsonl").write_text(json.dumps([[row], [row]]))
    code, said, _ = probed(capsys, "--trajectories", tmp_path / "chat.jsonl")
    assert code == 3 and "\\x1b[2J" in said and "\x1b" not in said


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_is_no_unicode_is_printed_as_an_escape(options, tmp_path, capsys):
    row = {"messages": [{"role": "assistant", "content": "x"}], "task": "\ud800", "reward": 1.0, "step": 1}
    (tmp_path / "chat.jsonl").write_text(json.dumps([[row], [row]]))
    code, said, _ = probed(capsys, "--trajectories", tmp_path / "chat.jsonl", *options)
    assert code == 3 and "\\ud800" in said and said.encode()


REFUSED = [
    (["--trajectories", "x.jsonl", "--env", ""], "--env names no environment"),
    (["env=mock", "--trajectories", "x"], "'env=mock' is an option of this project's loop, and --trajectories"),
    (["--tokenizer", "x"], "--tokenizer says more of rollouts: name their file with --trajectories."),
    (["--model", "x"], "--model is a name at an endpoint: name it with --url."),
    (["--url", "http://x/v1"], "--url needs the base model's name there: --model NAME."),
    (["--trajectories", "x", "--template", "y"], "--template needs the trainer's tokenizer: --tokenizer PATH"),
    (["--tools", "x"], "--tools says what a policy was sent: name rollouts (--trajectories) or an endpoint (--url)."),
    (["--trajectories", "nowhere.jsonl"], "nowhere.jsonl cannot be read: No such file or directory."),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=lambda p: " ".join(p) if isinstance(p, list) else "")
def test_options_that_do_not_go_together_are_refused_in_a_sentence(options, sentence, capsys):
    code, _, err = probed(capsys, *options)
    assert code == 2 and err.startswith(f"harness probe: {sentence}")


@pytest.mark.parametrize("text", ["{}", "[1]", "no"])
def test_tools_that_are_no_list_of_schemas_are_refused(text, sound, capsys):
    (sound / "tools.json").write_text(text)
    code, _, err = probed(capsys, "--trajectories", sound / "sound.jsonl", "--tools", sound / "tools.json")
    assert code == 2 and "tools.json" in err


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"messages": "hello"}', "rollout 2 has a field of another kind"),
        ('{"messages": [], "turns": [{"output_ids": ["a"]}]}', "rollout 2 has a field of another kind"),
        ("null", "rollout 2 is no rollout, but null"),
    ],
)
def test_a_row_that_is_no_rollout_is_refused_by_its_number(row, says, tmp_path, capsys):
    (tmp_path / "odd.jsonl").write_text('{"messages": []}\n' + row)
    code, _, said = probed(capsys, "--trajectories", tmp_path / "odd.jsonl")
    assert (code, says in said) == (2, True)


@pytest.mark.parametrize("option", ["--epochs", "--group-size"])
def test_a_number_that_must_be_1_at_least_is(option, sound, capsys):
    code, _, said = probed(capsys, *everything(sound), option, 0)
    assert (code, f"{option} is 0" in said) == (2, True)


def test_a_second_epoch_is_named_where_one_is_asked_for(sound, capsys):
    rows = [json.loads(line) for line in (sound / "updates.jsonl").read_text().splitlines()]
    again = [row | {"trainable_tokens": 2 * row["trainable_tokens"]} for row in rows]
    (sound / "updates.jsonl").write_text("\n".join(map(json.dumps, again)))
    assert [probed(capsys, *everything(sound), "--epochs", n)[0] for n in (1, 2)] == [3, 0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"task": "nowhere", "messages": [{"role": "assistant", "content": "Hi."}]}, "1 group: KeyError: 'nowhere'."),
        ({"messages": [{"role": "assistant", "content": "Hi."}]}, "none of them has a task and a reply."),
    ],
)
def test_an_environment_that_knows_none_of_the_tasks_is_refused(row, says, tmp_path, capsys):
    (tmp_path / "chat.jsonl").write_text(json.dumps(row))
    code, _, said = probed(capsys, "--trajectories", tmp_path / "chat.jsonl", "--env", "mock", "env.tasks=4")
    assert code == 2 and said.startswith("harness probe: env=mock can replay none of 1 rollout in ")
    assert said.strip().endswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("null", "declared.json declares nothing: it holds null, and not a JSON object."),
        ("{", "declared.json is no JSON: "),
        ("[]", "A declaration is one JSON object"),
        ('{"groupsize": 4}', "Nothing is declared by 'groupsize'."),
    ],
)
def test_a_file_that_declares_nothing_is_refused(text, says, sound, capsys):
    (sound / "declared.json").write_text(text)
    code, _, said = probed(capsys, *everything(sound), "--declared", sound / "declared.json")
    assert (code, says in said) == (2, True)
