"""The warm start on retail: what is shown, how it is tokenised, and that the adapter is what it says."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from experiments.warm_starts.retail import agent, checkpoint, low_rank
from experiments.warm_starts.retail import warm_start as training
from experiments.warm_starts.retail.demonstrations import Source, demonstrate
from experiments.warm_starts.retail.packed_rows import PADDING, Renderer, Rows, Tokens, pack
from experiments.warm_starts.retail.warm_start import (
    Settings,
    attention_of,
    predictions,
    prepare,
    rate,
    settle_attention,
    trained,
    warm_start,
)
from harness.engine.attention import DENSE, FLEX, implementation
from harness.env import load_domain
from harness.env.retail_tasks import generator, goals
from harness.env.retail_tasks.worlds import Population, Relabelling
from harness.errors import ConfigError
from harness.policy import MICRO, smollm2

DOMAIN = load_domain("retail")
SETTINGS = Settings(steps=6, minutes=5.0, row_tokens=1280, rank=8, learning_rate=1e-2, workers=0, brief=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """So small a model is slower on several threads where other programs want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def population() -> Population:
    return Population(DOMAIN)


@cache
def renderer() -> Renderer:
    return Renderer(MICRO, "You help the customers of a shop.", None)


@cache
def rows() -> Rows:
    return Rows(DOMAIN, renderer(), 0, SETTINGS.row_tokens, agent.RIGHT)


# What is shown


@pytest.mark.parametrize("task_id", DOMAIN.task_ids)
def test_a_faultless_agent_earns_the_full_reward_on_every_task_of_tau2(task_id):
    task = generator.known(DOMAIN, task_id)
    assert demonstrate(task, Random(0), agent.ALWAYS).outcome.reward == 1.0
    assert demonstrate(generator.relabelled(task, Random(1)), Random(0), agent.ALWAYS).outcome.reward == 1.0


def test_generated_tasks_are_solved_by_right_decisions_and_failed_by_wrong_ones():
    random, kinds, decisions = Random(0), Counter(), Counter()
    for _ in range(300):
        task = generator.generate(population(), random)
        assert demonstrate(task, random, agent.ALWAYS).outcome.reward == 1.0
        shown = demonstrate(task, random, agent.RIGHT)
        assert shown.outcome.reward == float(not shown.wrong), task.world.script.opening
        decisions.update(shown.wrong)
        kinds.update(call.name for goal in task.goals for call in goal.writes)
    writes = {action.name for i in DOMAIN.test_ids for action in DOMAIN.world(i).task.evaluation_criteria.actions or []}
    reads = {*goals.READS, goals.CALCULATE, goals.TRANSFER}
    assert writes - reads <= set(kinds), "all that the held-out tasks ask for is shown"
    assert set(decisions) == set(agent.RIGHT)


def test_two_generated_tasks_are_never_the_same():
    openings = [generator.generate(population(), Random(seed)).world.script.opening for seed in range(200)]
    assert len(set(openings)) == len(openings)


def test_no_held_out_customer_order_or_task_is_shown():
    everyone = population()
    random = Random(0)
    theirs = {order_id for user_id in everyone.held_out for order_id in everyone.database.users[user_id].orders}
    assert len(everyone.held_out) > 20 and not everyone.held_out & set(everyone.user_ids)
    for _ in range(100):
        database = generator.generate(everyone, random).world.database
        assert not set(database.orders) & theirs
        assert not set(database.users) & set(everyone.database.users)
    with pytest.raises(ValueError, match="held-out"):
        everyone.world(sorted(everyone.held_out)[0], random)
    for task_id in DOMAIN.test_ids:
        with pytest.raises(ValueError, match="no training task"):
            generator.of_training(DOMAIN, task_id)
    assert {task.world.task.id for task in Source(DOMAIN, agent.RIGHT).training} <= set(DOMAIN.train_ids)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("order #W2378156 or W2378156 or 2378156", True),
        ("zip 19122.", True),
        ("mei_davis_8935", True),
        ("yusuf.rossi7301@example.com", True),
        ('"amount": 536.6500000001, "price": 1819.92', False),
        ("a 10000mAh charger, 1000 pieces, Suite 135", False),
    ],
)
def test_ids_get_new_numbers_and_what_is_no_id_stays(text, changes):
    new = Relabelling(Random(0))
    assert (new(text) != text) is changes
    assert len(new(text)) == len(text) and new(text) == new(text)


def test_the_same_id_gets_the_same_number_everywhere():
    assert len(set(Relabelling(Random(0))("W2378156 2378156 #W2378156".replace("#", "")).replace("W", "").split())) == 1


def test_decisions_are_wrong_as_often_as_the_rates_say_and_one_of_them_so_often_that_greedy_decoding_errs():
    source, counts, chances = Random(0), Counter(), Counter()
    for _ in range(500):
        task = generator.generate(population(), source)
        wrong = agent.decide(task, source, agent.RIGHT)[2]
        counts.update(wrong)
        chances["continue"] += len(task.goals) > 1
    assert counts["continue"] / chances["continue"] == pytest.approx(1 - agent.RIGHT["continue"], abs=0.1)
    assert {name for name, rate in agent.RIGHT.items() if rate < 0.5} == {"delivered"}


# Its tokens


def test_a_conversations_tokens_are_those_that_are_served_turn_by_turn():
    for shown in islice(Source(DOMAIN, agent.RIGHT).stream("x"), 6):
        renderer().check(shown.messages)


def test_smollm2s_tokens_are_those_that_are_served_with_retails_prompt_and_tools():
    real = Renderer(smollm2.base(), DOMAIN.system_prompt, DOMAIN.tools)
    for shown in islice(Source(DOMAIN, agent.RIGHT).stream("x"), 3):
        real.check(shown.messages)


def test_a_template_that_merges_turns_is_refused():
    other = Renderer(MICRO, "You help.", None)
    other.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    with pytest.raises(ValueError, match="merges"):
        other.check([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "All done."}])


def test_only_what_the_assistant_writes_is_trained():
    messages = [
        {"role": "user", "content": "Cancel it."},
        {"role": "assistant", "content": "Shall I?"},
        {"role": "user", "content": "Yes."},
        {"role": "assistant", "content": "All done."},
    ]
    tokens = renderer().conversation(messages)
    words = renderer().tokenizer
    kept = words.decode([i for i, t in zip(tokens.ids, tokens.trained, strict=True) if t])
    assert kept == "Shall I?<|im_end|>All done.<|im_end|>"


def test_a_row_holds_whole_conversations_whose_positions_follow_the_system_prompt():
    row = pack([1, 2, 3], iter([Tokens([4, 5], [False, True]), Tokens([6], [True]), Tokens([7] * 9, [True] * 9)]), 8)
    assert row.ids.tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 0]
    assert row.group.tolist() == [0, 0, 0, 1, 1, 2, PADDING, PADDING]
    assert row.parent.tolist() == [0] * 6 + [PADDING] * 2
    assert row.trained.tolist() == [False] * 4 + [True, True, False, False]


def test_rows_depend_on_seed_and_number_alone():
    again = Rows(DOMAIN, renderer(), 0, SETTINGS.row_tokens, agent.RIGHT)
    assert np.array_equal(rows().row(1).ids, again.row(1).ids)
    assert not np.array_equal(rows().row(1).ids, rows().row(2).ids)


def test_a_row_that_the_prompt_fills_is_refused():
    with pytest.raises(ConfigError, match="no room"):
        Rows(DOMAIN, renderer(), 0, len(renderer().prefix), agent.RIGHT)


# Its training


def test_packed_conversations_get_the_logits_that_each_gets_alone():
    model, _ = prepare(MICRO, SETTINGS, "cpu")
    prefix = list(range(5, 25))
    first, second = Tokens(list(range(30, 50)), [True] * 20), Tokens(list(range(60, 75)), [True] * 15)
    packed, _ = predictions(model, pack(prefix, iter([first, second]), 64))
    alone = [predictions(model, pack(prefix, iter([tokens]), 40))[0] for tokens in (first, second)]
    # a conversation's first token follows the prompt when alone, another conversation when packed: never trained on
    torch.testing.assert_close(packed[:20], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[21:], alone[1][1:], atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("broken", [False, True])
def test_flex_attention_is_used_where_it_agrees_with_dense_masks_and_else_replaced(monkeypatch, broken):
    model, _ = prepare(MICRO, SETTINGS, "cpu")
    model.set_attn_implementation(implementation(FLEX))

    def answered(model, row):  # micro has no such words, and a CPU no backward pass for flex
        if broken and attention_of(model) == FLEX:
            raise RuntimeError("no kernel")
        shorter = pack([1, 2, 3], iter([Tokens(list(range(5, 45)), [True] * 40)]), 128)
        with torch.no_grad():
            return predictions(model, shorter)[0].log_softmax(-1)

    monkeypatch.setattr(training, "trial", answered)
    said: list[str] = []
    settle_attention(model, 2176, said.append)
    assert attention_of(model) == (DENSE if broken else FLEX)
    assert ("no kernel" in said[0]) is broken


def test_training_lowers_the_loss_and_leaves_the_base_as_it_was(tmp_path):
    before = checkpoint.weights_digest(MICRO)
    said: list[str] = []
    manifest = warm_start(MICRO, before, tmp_path, SETTINGS, "cpu", said.append)
    first = next(float(text.split()[1]) for text in said if text.endswith("at the first step"))
    assert manifest.loss < first - 0.1
    assert manifest.steps == SETTINGS.steps
    assert checkpoint.weights_digest(MICRO) == before
    adapter, read = low_rank.load(tmp_path)
    assert read == manifest and all(tensor.dtype == torch.bfloat16 for tensor in adapter.values())


def test_training_goes_on_from_an_adapter_on_the_rows_after_its_last(tmp_path, monkeypatch):
    base = checkpoint.weights_digest(MICRO)
    asked: list[int] = []
    row = Rows.row
    monkeypatch.setattr(Rows, "row", lambda rows, number: asked.append(number) or row(rows, number))
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder, more, peak in zip(folders, (None, *folders), (1e-2, 0.0, 0.0), strict=False):
        changes = {"steps": 2, "more": more, "learning_rate": peak}
        manifest = warm_start(MICRO, base, folder, replace(SETTINGS, **changes), "cpu", list)
    assert asked == list(range(6))
    assert (manifest.steps, manifest.rows) == (2, 6)
    first, last = (low_rank.load(folder)[0] for folder in (folders[0], folders[2]))
    assert all(torch.equal(first[name], last[name]) for name in first), "at rate 0 the adapter stays"


def test_training_goes_on_from_an_adapter_of_its_own_kind_only(tmp_path):
    base = checkpoint.weights_digest(MICRO)
    warm_start(MICRO, base, tmp_path, replace(SETTINGS, steps=1), "cpu", list)
    with pytest.raises(ConfigError, match="with seed 0, this training has 1"):
        warm_start(MICRO, base, tmp_path / "next", replace(SETTINGS, seed=1, more=tmp_path), "cpu", list)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A folder with an adapter of micro that changes every layer."""
    folder = tmp_path_factory.mktemp("adapter")
    _, layers = prepare(MICRO, SETTINGS, "cpu")
    torch.manual_seed(1)
    for parameter in trained(layers):
        torch.nn.init.normal_(parameter, std=0.05)
    low_rank.save(low_rank.tensors(layers), manifest_for(checkpoint.weights_digest(MICRO)), folder)
    return folder


def manifest_for(base: str) -> low_rank.Manifest:
    numbers = {"seed": 0, "steps": 1, "row_tokens": 1, "rank": 8, "scale": 1.0, "learning_rate": 1.0, "context": 2048}
    return low_rank.Manifest(
        base=base, demonstrations="", right={}, seconds=0.0, loss=0.0, device="cpu", measured={}, **numbers
    )


def test_the_merged_checkpoint_gives_the_logits_of_base_and_adapter(adapter, tmp_path):
    checkpoint.apply(MICRO, adapter, tmp_path / "out")
    model, layers = prepare(MICRO, SETTINGS, "cpu")
    change, _ = low_rank.load(adapter)
    for name, layer in layers.items():
        layer.down.data, layer.up.data = change[f"{name}.down"].float(), change[f"{name}.up"].float()
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(MICRO, dtype=torch.float32)
    ids = torch.arange(5, 45).unsqueeze(0)
    torch.testing.assert_close(alone(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)
    assert (alone(ids).logits - plain(ids).logits).abs().max() > 0.1
    assert json.loads((tmp_path / "out/config.json").read_text())["max_position_embeddings"] == 2048
    checkpoint.apply(MICRO, adapter, tmp_path / "out")  # takes the place of the one that is there


def test_an_adapter_travels_in_small_files_and_an_incomplete_one_is_refused(adapter, tmp_path, monkeypatch):
    change, manifest = low_rank.load(adapter)
    monkeypatch.setattr(low_rank, "SHARD", 2**16 + 2**15)
    low_rank.save(change, manifest, tmp_path)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 1 and all(file.stat().st_size <= low_rank.SHARD for file in files)
    back, _ = low_rank.load(tmp_path)
    assert all(torch.equal(back[name], change[name]) for name in change)
    files[0].unlink()
    with pytest.raises(ConfigError, match="bring all"):
        low_rank.load(tmp_path)
    with pytest.raises(ConfigError, match="holds no manifest"):
        low_rank.load(tmp_path / "nowhere")


def test_an_adapter_of_another_base_is_refused(adapter, tmp_path):
    change, manifest = low_rank.load(adapter)
    low_rank.save(change, replace(manifest, base="other"), tmp_path)
    with pytest.raises(ConfigError, match="trained on base other"):
        checkpoint.apply(MICRO, tmp_path, tmp_path / "out")


def test_the_rate_rises_and_falls_to_nothing():
    rates = [rate(step / 100) for step in range(101)]
    assert rates[0] > 0 and max(rates) == 1.0 and rates[-1] == pytest.approx(0.0)
    assert rates.index(1.0) == 4
