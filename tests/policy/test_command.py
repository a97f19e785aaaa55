"""`harness policy`: which policies are here, and what is said of those that are not fetched by a command."""

import pytest

from harness.commands import run_command
from harness.policy import POLICIES, hub, smollm2


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_every_policy_is_listed_with_its_place_or_the_command_that_gets_it(capsys):
    smollm2.checkpoint().mkdir(parents=True)
    assert run_command("policy", ["list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(POLICIES)
    assert lines["micro"].startswith("here ")
    assert lines["smollm2_135m_raw"] == f"here      {smollm2.checkpoint()}"
    assert lines["qwen3_4b"] == "not here  harness policy fetch qwen3_4b"


NOT_FETCHED = [
    (["smollm2"], "Did you mean 'smollm2_135m'"),
    (["micro"], "micro is part of the harness"),
    (["micro_search"], "micro_search is part of the harness"),
    (["smollm2_135m"], "harness policy fetch smollm2_135m_raw, then on a GPU"),
    (["qwen3_4b", "--from", "."], "--from is for smollm2_135m_raw"),
    (["smollm2_135m_raw", "--from", "nothing.whl"], "There is no nothing.whl"),
]


@pytest.mark.parametrize(("arguments", "message"), NOT_FETCHED)
def test_what_is_not_fetched_is_refused_with_what_to_do(arguments, message, capsys):
    assert run_command("policy", ["fetch", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_any_model_of_the_hub_is_fetched_by_its_owner_and_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub, "fetch", lambda model, say: tmp_path / model.repository / model.revision)
    assert run_command("policy", ["fetch", "Qwen/Qwen3-0.6B@abc"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/Qwen/Qwen3-0.6B/abc is ready: policy.hub=Qwen/Qwen3-0.6B@abc\n"


def test_the_base_is_made_of_a_file_where_there_is_no_network(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(smollm2, "make", lambda say, source: made.append(source))
    assert run_command("policy", ["fetch", "smollm2_135m_raw", "--from", str(tmp_path)]) == 0
    assert made == [tmp_path]


def test_a_model_of_the_hub_is_fetched_by_its_owner_and_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub, "fetch", lambda model, say: tmp_path / model.repository / model.revision)
    assert run_command("policy", ["fetch", "Qwen/Qwen3-0.6B"]) == 0
    assert f"{tmp_path}/Qwen/Qwen3-0.6B/main is ready: policy.hub=Qwen/Qwen3-0.6B" in capsys.readouterr().out
