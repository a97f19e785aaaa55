"""`harness doctor env=…` says what is in an environment and which of its tasks the oracle cannot solve."""

from harness.commands import run_command
from harness.env import agents
from harness.launch import env_doctor
from harness.policy import load_policy
from tests.env.test_agents import Asked, Paying


def shown(capsys, *options):
    assert run_command("doctor", list(options)) == 0
    return capsys.readouterr().out.splitlines()


def test_it_prints_a_line_for_each_set_of_tasks(capsys):
    first, head, train, held_out = shown(capsys, "env=mock", "env.tasks=40")
    assert first.startswith("env=mock: system prompt and tools are 725 tokens of policy=micro")
    assert head.split() == [
        "set",
        "tasks",
        "prompt:",
        "median",
        "longest",
        "ms",
        "an",
        "episode",
        "floor",
        "random",
        "oracle",
    ]
    assert (train.split()[:2], held_out.split()[:3]) == (["train", "30"], ["held", "out", "10"])
    assert [train.split()[-3], train.split()[-1], held_out.split()[-1]] == ["0.000", "1.000", "1.000"]


def test_further_sets_and_options_of_the_environment_are_understood(capsys):
    lines = shown(capsys, "env=retail_generated", "env.tasks=3", "env.validation_tasks=2", "env.requests=2")
    assert [line.split()[0] for line in lines[2:]] == ["train", "held", "retail"]


def test_sizes_are_characters_where_no_tokenizer_is_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "characters; a prompt is" in shown(capsys, "env=mock", "env.tasks=31", "policy=qwen2_5_7b")[0]


def test_what_is_wrong_is_said_as_for_a_sweep(capsys):
    assert run_command("doctor", ["env=mok"]) == 2
    assert "env has no option 'mok'. Did you mean 'mock'?" in capsys.readouterr().err


def test_the_tasks_that_the_oracle_fails_are_named(monkeypatch):
    monkeypatch.setattr(env_doctor, "load_environment", lambda source, user: Paying())
    assert env_doctor.lines(["env=mock"])[-1] == "the oracle fails at 1 of held out: t2"


def test_an_environment_that_knows_no_solutions_says_how_to_give_them(monkeypatch):
    made = Paying()
    made.solution = None
    monkeypatch.setattr(env_doctor, "load_environment", lambda source, user: made)
    text = env_doctor.lines(["env=mock"])
    assert text[-1].startswith("oracle: this environment does not say what solves its tasks")
    assert text[2].split()[-1] == "-"


def test_a_user_who_is_a_model_is_not_asked(monkeypatch):
    made = Paying()
    made.start = lambda task_id, seed: Asked()
    monkeypatch.setattr(env_doctor, "load_environment", lambda source, user: made)
    assert env_doctor.lines(["env=mock"])[-1] == "its user is a model: nothing was played"


def test_the_tokens_are_those_of_the_policy_that_is_chosen():
    assert load_policy("micro").name == "micro"
    found = env_doctor.measured("t", Paying(), ["t0", "t1"], len)
    assert found.prompts == (len(env_doctor.opening_of_all(Paying()) + "Begin."),) * 2
    assert found.rewards == {"floor": 0.0, "random": 1.0, "oracle": 1.0} and agents.CALLS > 1


def test_it_plays_with_the_user_that_is_chosen(capsys):
    lines = shown(capsys, "env=retail_generated", "env.tasks=3", "env.validation_tasks=2", "user=withholding")
    openings = [line.split()[3] for line in lines[2:4]]
    assert openings != [line.split()[3] for line in shown(capsys, "env=retail_generated", "env.tasks=3")[2:4]]
    asked = shown(capsys, "env=mock", "user=llm", "user.model=gpt-4o")
    assert asked[-1] == "its user is a model: nothing was played"
