"""A checkpoint of one's own: what is taken from it, and what is refused before an engine starts."""

import json
import shutil

import pytest

from harness.errors import ConfigError
from harness.policy import MICRO, PolicySource, hub, load_policy, own, ready


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "_parsers", lambda: {"hermes", "mistral"})
    return shutil.copytree(MICRO, tmp_path / "mine")


def source(folder, **given):
    return PolicySource(path=str(folder), **{"tool_parser": "hermes", **given})


def test_a_folder_is_a_policy_under_its_own_name(mine):
    policy = load_policy(source(mine))
    assert (policy.name, policy.path, policy.tool_parser) == ("mine", mine, "hermes")
    assert (policy.max_model_len, policy.dtype) == (1024, "float32")  # as its config.json says
    assert ready(policy) is policy


def test_what_is_given_wins_over_the_checkpoint(mine):
    policy = load_policy(source(mine, name="first", max_model_len=512, dtype="bfloat16", tool_parser="mistral"))
    assert (policy.name, policy.max_model_len, policy.dtype, policy.tool_parser) == (
        *("first", 512, "bfloat16"),
        "mistral",
    )


def test_the_digest_follows_the_files_and_the_template_and_nothing_else(mine, tmp_path):
    before = load_policy(source(mine)).digest
    (mine / "optimizer.pt").write_text("not read")
    assert load_policy(source(mine)).digest == before
    (tmp_path / "t.jinja").write_text("another")
    assert load_policy(source(mine, chat_template=str(tmp_path / "t.jinja"))).digest != before
    (mine / "generation_config.json").write_text("{}")
    assert load_policy(source(mine)).digest != before


def test_another_template_stands_in_a_folder_of_links_made_when_it_is_needed(mine, tmp_path):
    (tmp_path / "t.jinja").write_text("another")
    policy = load_policy(source(mine, chat_template=str(tmp_path / "t.jinja")))
    assert not (tmp_path / "cache").exists()  # a plan makes nothing
    made = ready(policy)
    assert (made.path / "chat_template.jinja").read_text() == "another"
    assert (made.path / "model.safetensors").resolve() == mine / "model.safetensors"
    assert (mine / "chat_template.jinja").read_text() != "another"
    assert (made.digest, made.chat_template) == (policy.digest, None)
    assert ready(policy) == made  # again: the same folder


def test_a_folder_of_links_that_points_elsewhere_is_made_anew(mine, tmp_path):
    (tmp_path / "t.jinja").write_text("another")
    given = {"chat_template": str(tmp_path / "t.jinja")}
    ready(load_policy(source(mine, **given)))
    moved = mine.rename(tmp_path / "moved")
    made = ready(load_policy(source(moved, **given)))
    assert (made.path / "model.safetensors").resolve() == moved / "model.safetensors"


def without(name):
    return lambda folder: (folder / name).unlink()


def config(**changed):
    def change(folder):
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(found | changed))

    return change


def adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def in_shards(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))


BROKEN = [
    (without("config.json"), r"policy.path=.*mine lacks config.json"),
    (without("tokenizer.json"), "lacks tokenizer.json"),
    (without("model.safetensors"), "lacks model.safetensors"),
    (without("chat_template.jinja"), "no chat template"),
    (adapter, "LoRA adapter alone"),
    (pickled, "pytorch_model.bin is not read"),
    (in_shards, "lacks model-1.safetensors"),
    (config(architectures=["BertModel"]), "describes BertModel; expected a text model"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_folder_that_is_no_whole_checkpoint_is_refused(change, message, mine):
    change(mine)
    with pytest.raises(ConfigError, match=message):
        load_policy(source(mine))


WRONG = [
    ({"tool_parser": None}, r"policy.tool_parser is missing.*hermes, mistral"),
    ({"tool_parser": "hermess"}, "Did you mean hermes"),
    ({"max_model_len": 4096}, "was made for 1024 tokens"),
    ({"max_model_len": 0}, "expected a number of tokens above 0"),
    ({"dtype": "float8"}, "expected float32 or bfloat16"),
    ({"chat_template": "nowhere.jinja"}, "nowhere.jinja is no file"),
    ({"hub": "Qwen/Qwen3-0.6B"}, "give one of them"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_an_option_that_does_not_fit_the_folder_is_refused(given, message, mine):
    with pytest.raises(ConfigError, match=message):
        load_policy(source(mine, **given))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        load_policy(source(tmp_path / "nowhere"))


def test_a_policy_of_ours_has_its_own_parser_and_context():
    with pytest.raises(ConfigError, match=r"policy.max_model_len is given with policy=micro.*policy.path=FOLDER"):
        PolicySource("micro", max_model_len=512)


def test_the_parsers_are_those_of_the_servers_vllm(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "python3.11" / "site-packages" / "vllm" / "tool_parsers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        '_TOOL_PARSERS = {\n    "granite-20b-fc": (  # name\n        "f",\n    ),\n}\n'
    )
    monkeypatch.setenv("HARNESS_VLLM_PYTHON", str(tmp_path / "bin" / "python"))
    assert own._parsers() == {"granite-20b-fc"}
    monkeypatch.setenv("HARNESS_VLLM_PYTHON", str(tmp_path / "elsewhere" / "bin" / "python"))
    assert own._parsers() == set()


def test_a_model_of_the_hub_is_found_once_it_was_fetched(mine, monkeypatch):
    fetched = []
    monkeypatch.setattr(hub, "_fetched", lambda model: fetched.append(model) or mine)
    policy = load_policy(PolicySource(hub="Qwen/Qwen3-0.6B@abc", tool_parser="hermes"))
    assert (policy.name, policy.path) == ("Qwen3-0.6B", mine)
    assert (fetched[0].repository, fetched[0].revision) == ("Qwen/Qwen3-0.6B", "abc")


def test_a_model_that_was_not_fetched_names_the_command(monkeypatch):
    monkeypatch.setattr(hub, "_fetched", lambda model: None)
    with pytest.raises(ConfigError, match=r"not on this machine.*python -m harness policy fetch Qwen/Qwen3-0.6B"):
        load_policy(PolicySource(hub="Qwen/Qwen3-0.6B", tool_parser="hermes"))


def test_a_name_of_the_hub_has_an_owner():
    with pytest.raises(ConfigError, match="expected OWNER/MODEL"):
        PolicySource(hub="Qwen3-0.6B", tool_parser="hermes")
