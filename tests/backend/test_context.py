"""What was really trained, beside what was served: ART's packing, the tokenizer and the trainer are the real ones."""

import asyncio
from dataclasses import replace
from functools import cache
from itertools import product

import art
import pytest
from transformers import AutoTokenizer

from harness.backend import TrainedContext
from harness.backend.context import ContextKind, Contexts
from harness.backend.tokenizer import by_pieces, showing_calls, tokenizer_of
from harness.evidence import RolloutTable, gather_evidence
from harness.fixes import endpoint, exploration, logprobs, reward, split, toolcalls, toolorder, tools
from harness.rollout import SourcedEpisode, trajectory
from harness.seams import Names, Rendering, Seams, TaskSplit
from harness.validity import invalid_factors
from tests.backend.templates import call_text, checkpoint, play

# In the key order in which the server renders them; ART's types have function before type.
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "close",
            "description": "Close a task.",
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"name": "list", "description": "List the tasks.", "parameters": {}}},
]
OTHERS = [{"type": "function", "function": {"name": "open", "description": "Open a task.", "parameters": {}}}]
TALK = (call_text("task_7"), "All done.")
ON = {"tools": "on", "toolcalls": "on", "toolorder": "on"}
SERVED = frozenset({"served"})


def seams_of(levels) -> Seams:
    def at(module):
        return (module.On if levels[module.FACTOR.name] == "on" else module.Off)()

    rest = (exploration.On(), reward.On(), logprobs.On(), split.On())
    return Seams(endpoint.On(), at(tools), *rest, further=(at(toolcalls), at(toolorder)))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("templates")


class Step:
    """A training step of one group on a backend, and what the three checks say of it.

    talks: the policy's turns, per rollout; each rollout has a reward of its own
    attached: what the trajectories are given in place of what fix/tools attaches
    """

    def __init__(self, world, folder, template, levels=ON, talks=(TALK, ("Done.",)), attached=None, served=TOOLS):
        path = checkpoint(folder, template)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        seams = seams_of({**ON, **levels})
        rendering = seams.context(Rendering())
        self.episodes = [play(self.tokenizer, served, *talk, key=f"{n}") for n, talk in enumerate(talks)]
        made = [trajectory(asked, n, seams, served) for n, asked in enumerate(self.episodes)]
        for number, each in enumerate(made):
            each.reward = number / len(made)
            if attached is not None:
                each.tools = attached
        self.model = world.admit("a", rendering=rendering, checkpoint=path)
        groups = [art.TrajectoryGroup(made)]
        asyncio.run(world.backend.train(self.model, groups, learning_rate=1e-3, packed_sequence_length=512))
        self.contexts = Contexts(str(path), served)
        self.trained = world.backend.trained_contexts(self.model)
        self.judged = self.contexts.judge(self.trained, self.episodes)
        table = RolloutTable(0, ["task_7"], len(made), {("task_7", n): e for n, e in enumerate(self.episodes)}, groups)
        self.evidence, self.line = gather_evidence(
            table,
            {},
            world.backend.trained(self.model),
            self.contexts,
            trained_contexts=self.trained,
            rendering=rendering,
            names_carried="hosted_vllm/a@0",
            names=Names("a@0", "a@0"),
            after="a@1",
            submitted=groups,
            own_seed=lambda task, number: 0,
            weights=lambda name: "base",
            temperature=1.0,
            row_length=512,
            options={},
            split=TaskSplit(("task_7",), ()),
            validated=None,
            exact=True,
            scores=None,
        )
        judges = (seams.tools, *seams.further)
        self.checks = [strategy.check(self.evidence) for strategy in judges]
        self.took_effect = {check.factor: check.took_effect for check in self.checks}
        self.text = {check.factor: check.text for check in self.checks}
        self.invalid = [each["factor"] for each in invalid_factors(self.checks, seams)]

    def of(self, number) -> ContextKind:
        return next(found for found in self.judged if found.key == f"{number}")


@pytest.mark.parametrize(
    "levels", [dict(zip(ON, own, strict=True)) for own in product(("on", "off"), repeat=3)], ids=str
)
@pytest.mark.parametrize("template", ["micro", "qwen", "stock"])
def test_every_combination_is_seen_in_what_was_trained(template, levels, world, folder):
    step = Step(world, folder, template, levels)
    shows_order = template == "stock"
    order = {"served" if levels["toolorder"] == "on" else "stock_order"} if shows_order else {"served", "stock_order"}
    assert step.of(0).opening == step.of(1).opening == (order if levels["tools"] == "on" else {"no_tools"})
    assert step.of(0).rest == {"served" if levels["toolcalls"] == "on" else "twice"}
    assert step.of(1).rest is None  # no call stands before its last turn
    told = True if shows_order and levels["tools"] == "on" else None
    assert step.took_effect == {"tools": True, "toolcalls": True, "toolorder": told}


@pytest.mark.parametrize("template", ["micro", "qwen", "stock", "either"])
def test_with_all_fixes_on_the_trainer_sees_what_was_served(template, world, folder):
    step = Step(world, folder, template)
    for asked in step.episodes:
        last = asked.episode.turns[-1]
        assert (*last.prompt_ids, *last.output_ids) in [context.ids for context in step.trained]
    assert all(found.served for found in step.judged)
    assert step.invalid == []


def test_stock_art_judges_what_it_packed(stock_world, folder):
    for levels in ({}, {"tools": "off"}, {"toolcalls": "off"}, {"toolorder": "off"}):
        step = Step(stock_world, folder, "stock", levels)
        assert len(step.trained) == 2 and step.invalid == []
        assert set(step.took_effect.values()) <= ({True, None} if levels == {"tools": "off"} else {True})
        asyncio.run(stock_world.backend.release(step.model))


FAULTS = [
    ("another tool list", {"attached": OTHERS}, "tools"),
    ("the same list backwards", {"attached": TOOLS[::-1]}, "tools"),
    ("a part of the list", {"attached": TOOLS[:1]}, "tools"),
]


@pytest.mark.parametrize(
    ("fault", "changes", "factor"), FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("level", ["on", "off"])
def test_wrong_tools_are_invalid_at_either_level(fault, changes, factor, level, world, folder):
    step = Step(world, folder, "stock", {"tools": level}, **changes)
    assert step.invalid == [factor]
    assert (
        "0 of 2 trained rollouts begin with the tools that were sent, 0 without tools, 2 otherwise"
        in step.text["tools"]
    )


def without_tools(checkpoint, calls):
    """A trainer's tokenizer that drops the tools."""
    found = showing_calls(by_pieces(AutoTokenizer.from_pretrained(checkpoint)), calls)
    kept = found.apply_chat_template
    found.apply_chat_template = lambda *args, **options: kept(*args, **options | {"tools": None})
    return found


@pytest.mark.parametrize("template", ["micro", "stock"])
def test_a_trainer_whose_tokenizer_drops_the_tools_is_invalid(template, world, folder, monkeypatch):
    monkeypatch.setattr("harness.backend.shared.tokenizer_of", without_tools)
    assert Step(world, folder, template).invalid == ["tools"]


@pytest.mark.parametrize("template", ["micro", "stock"])
def test_a_trainer_that_shows_calls_twice_although_it_must_not_is_invalid(template, world, folder, monkeypatch):
    monkeypatch.setattr("harness.backend.shared.tokenizer_of", lambda path, calls: tokenizer_of(path, "twice"))
    step = Step(world, folder, template)
    assert step.invalid == ["toolcalls"]
    assert "1 of 1 trained rollouts show a call before the last turn twice" in step.text["toolcalls"]


def test_a_tokenizer_that_does_not_leave_calls_out_is_invalid(world, folder, monkeypatch):
    """The fault is in what renders the examples, too."""
    plain = cache(lambda path: AutoTokenizer.from_pretrained(path))
    for place in ("shared", "context"):
        monkeypatch.setattr(
            f"harness.backend.{place}.tokenizer_of",
            lambda path, calls: plain(path) if calls == "once" else tokenizer_of(path, "twice"),
        )
    assert Step(world, folder, "stock").invalid == ["toolcalls"]


def test_a_tokenizer_that_never_shows_calls_twice_is_invalid(world, folder, monkeypatch):
    for place in ("shared", "context"):
        monkeypatch.setattr(f"harness.backend.{place}.tokenizer_of", lambda path, calls: tokenizer_of(path, "once"))
    assert Step(world, folder, "stock", {"toolcalls": "off"}).invalid == ["toolcalls"]


def test_an_odd_spelling_is_not_taken_for_calls_shown_twice_where_no_template_shows_them_so(world, folder):
    step = Step(world, folder, "either", talks=((call_text("task_7", spaces=2), "All done."), TALK))
    assert step.of(0).rest == {"once", "twice"} and step.invalid == []
    assert step.took_effect["toolcalls"] is None


def test_a_trainer_that_shows_calls_once_although_it_must_not_is_invalid(world, folder, monkeypatch):
    monkeypatch.setattr("harness.backend.shared.tokenizer_of", lambda path, calls: tokenizer_of(path, "once"))
    assert Step(world, folder, "stock", {"toolcalls": "off"}).invalid == ["toolcalls"]


@pytest.mark.parametrize("level", ["on", "off"])
def test_a_trainer_with_the_other_key_order_is_invalid(level, world, folder, monkeypatch):
    other = {"served": "default", "stock": "vllm_openai"}
    monkeypatch.setattr("harness.backend.shared.SCHEMA_FORMATS", other)
    step = Step(world, folder, "stock", {"toolorder": level})
    assert step.invalid == ["toolorder"] and step.took_effect["tools"] is True


@pytest.mark.parametrize("template", ["stock", "thinking"])
def test_a_server_that_shows_the_tools_in_another_key_order_is_invalid(template, world, folder, monkeypatch):
    other = [{name: tool[name] for name in ("function", "type")} for tool in TOOLS]
    served = play
    monkeypatch.setitem(globals(), "play", lambda tokenizer, _, *talk, key: served(tokenizer, other, *talk, key=key))
    assert Step(world, folder, template).invalid == ["tools"]


@pytest.mark.parametrize("level", ["on", "off"])
def test_a_trainer_that_silently_leaves_a_rollout_out_is_invalid(level, world, folder, monkeypatch):
    """Its log-probs were kept, and did not arrive."""
    packed = type(world.backend)._get_packed_tensors

    def loses(self, model, groups, **options):
        groups = [group.model_copy(deep=True) for group in groups]
        for choice in groups[0].trajectories[0].messages_and_choices:
            if not isinstance(choice, dict):
                choice.logprobs = None
        return packed(self, model, groups, **options)

    honest = Step(world, folder, "micro", {"tools": level})
    assert honest.evidence.left_out == 0
    monkeypatch.setattr(type(world.backend), "_get_packed_tensors", loses)
    found = logprobs.On().check(Step(world, folder, "micro", {"tools": level}).evidence)
    assert found.took_effect is False and "1 rollouts with log-probs and an advantage were not trained" in found.text


DISABLED = [
    (toolcalls.Off, "context", lambda self, rendering: rendering, {"toolcalls": "off"}),
    (toolorder.Off, "context", lambda self, rendering: rendering, {"toolorder": "off"}),
    (toolcalls.On, "context", lambda self, rendering: replace(rendering, calls="twice"), {}),
    (toolorder.On, "context", lambda self, rendering: replace(rendering, tool_order="stock"), {}),
    (tools.On, "attach", lambda self, sent: None, {}),
    (tools.Off, "attach", lambda self, sent: sent, {"tools": "off"}),
]


@pytest.mark.parametrize(("level", "method", "instead", "levels"), DISABLED)
def test_no_check_passes_with_its_switch_disabled(level, method, instead, levels, world, folder, monkeypatch):
    monkeypatch.setattr(level, method, instead)
    assert Step(world, folder, "stock", levels).invalid == [level.factor.name]


@pytest.mark.parametrize(
    ("levels", "opening"),
    [
        ({}, {"rendered"}),
        ({"toolorder": "off"}, {"stock_order"}),
        ({"tools": "off"}, {"no_tools"}),
        ({"toolcalls": "off"}, {"rendered"}),
    ],
)
def test_where_art_renders_more_than_the_tools_in_another_way_the_switches_are_told_all_the_same(
    levels, opening, world, folder
):
    step = Step(world, folder, "thinking", levels)
    assert [found.opening for found in step.judged] == [opening] * 2
    assert step.of(0).rest == {"twice" if "toolcalls" in levels else "once"}
    told = None if "tools" in levels else True
    assert step.took_effect == {"tools": True, "toolcalls": True, "toolorder": told} and step.invalid == []
    assert step.line["rendered_apart"] == 2 and not any(found.served for found in step.judged)
    assert ("2 with the tools, rendered by ART in another way than served" in step.text["tools"]) is (
        opening == {"rendered"}
    )


@pytest.mark.parametrize("template", ["micro", "qwen", "stock", "either"])
def test_nothing_is_rendered_apart_where_art_and_the_server_differ_in_the_tools_alone(template, world, folder):
    for levels in ({}, {"tools": "off"}, {"toolorder": "off"}):
        step = Step(world, folder, template, levels)
        assert step.line["rendered_apart"] == 0
        asyncio.run(world.backend.release(step.model))


def test_an_opening_is_rendered_apart_whatever_that_of_other_rollouts_of_its_task_is(world, folder):
    step = Step(world, folder, "last", talks=(("Done.",), TALK))
    assert step.invalid == []
    for order in (step.trained, step.trained[::-1]):
        found = {one.key: one for one in Contexts(step.contexts.checkpoint, TOOLS).judge(order, step.episodes)}
        assert (found["0"].opening, found["0"].apart) == ({"rendered"}, True)
        assert (found["1"].opening, found["1"].apart) == (SERVED, False)


@pytest.mark.parametrize(
    ("fault", "changes", "factor"), FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("level", ["on", "off"])
def test_wrong_tools_are_invalid_where_art_renders_more_in_another_way(fault, changes, factor, level, world, folder):
    step = Step(world, folder, "thinking", {"tools": level}, **changes)
    assert step.invalid == [factor] and "2 otherwise" in step.text["tools"]


def missing(tools):
    """A trainer's tokenizer that drops these of the tools."""

    def tokenizer_for(path, calls):
        found = showing_calls(by_pieces(AutoTokenizer.from_pretrained(path)), calls)
        kept = found.apply_chat_template
        found.apply_chat_template = lambda *args, **options: kept(
            *args, **options | {"tools": [each for each in options["tools"] or [] if each not in tools] or None}
        )
        return found

    return cache(tokenizer_for)


@pytest.mark.parametrize("dropped", [TOOLS, TOOLS[:1], TOOLS[1:]], ids=["both", "the first", "the last"])
def test_a_tokenizer_that_drops_tools_where_the_examples_are_rendered_too_is_invalid(
    dropped, world, folder, monkeypatch
):
    for place in ("shared", "context"):
        monkeypatch.setattr(f"harness.backend.{place}.tokenizer_of", missing(dropped))
    step = Step(world, folder, "thinking")
    assert step.invalid[:1] == ["tools"] and step.took_effect["tools"] is False


def with_calls(changed):
    """A trainer's tokenizer that shows each trained call as it was sampled and, beside it, these calls."""

    def tokenizer_for(path, calls):
        found = showing_calls(by_pieces(AutoTokenizer.from_pretrained(path)), "twice")
        kept = found.apply_chat_template
        found.apply_chat_template = lambda messages, *args, **options: kept(
            [m | {"tool_calls": changed(m["tool_calls"])} if m.get("tool_calls") else m for m in messages],
            *args,
            **options,
        )
        return found

    return cache(tokenizer_for)


def corrupted(calls):
    return [call | {"function": call["function"] | {"arguments": '{"id": "task_8"}'}} for call in calls]


@pytest.mark.parametrize("changed", [lambda calls: calls * 2, corrupted], ids=["three times", "another call"])
@pytest.mark.parametrize("template", ["stock", "thinking"])
@pytest.mark.parametrize("level", ["on", "off"])
def test_a_call_that_is_shown_in_no_known_way_is_invalid(level, template, changed, world, folder, monkeypatch):
    monkeypatch.setattr("harness.backend.shared.tokenizer_of", with_calls(changed))
    step = Step(world, folder, template, {"toolcalls": level})
    assert step.of(0).rest == frozenset() and step.invalid == ["toolcalls"]
    assert "0 of 1 trained rollouts show a call before the last turn twice, 0 once, 1 neither" in step.text["toolcalls"]


@pytest.mark.parametrize("level", ["on", "off"])
def test_one_call_that_is_shown_in_no_known_way_is_enough(level, world, folder, monkeypatch):
    """The others are as they must be: their tasks are other ones."""

    def of_task_9(calls):
        return calls * 2 if "task_9" in str(calls) else calls if level == "off" else []

    monkeypatch.setattr("harness.backend.shared.tokenizer_of", with_calls(of_task_9))
    talks = [(call_text(f"task_{n}"), "All done.") for n in (7, 8, 9)]
    step = Step(world, folder, "stock", {"toolcalls": level}, talks=talks)
    assert [bool(step.of(n).rest) for n in (0, 2)] == [True, False] and step.invalid == ["toolcalls"]


@pytest.mark.parametrize("level", ["on", "off"])
def test_a_call_in_another_spelling_than_served_is_shown_once_or_twice_as_any_other(level, world, folder):
    odd = (call_text("task_7", spaces=2), "All done.")
    step = Step(world, folder, "stock", {"toolcalls": level}, talks=(odd, TALK))
    assert step.of(0).rest == {"once" if level == "on" else "twice"}
    assert step.took_effect["toolcalls"] is True and step.invalid == []
    assert ("1 of those once in another spelling than it was served" in step.text["toolcalls"]) is (level == "on")
    assert step.of(0).opening == SERVED and not step.of(0).served


@pytest.mark.parametrize("shown", ["once", "twice"])
@pytest.mark.parametrize("level", ["on", "off"])
def test_odd_calls_alone_tell_how_often_they_are_shown(shown, level, world, folder, monkeypatch):
    monkeypatch.setattr("harness.backend.shared.tokenizer_of", lambda path, calls: tokenizer_of(path, shown))
    talks = ((call_text("task_7", spaces=2), "All done."), ("Done.",))
    step = Step(world, folder, "stock", {"toolcalls": level}, talks=talks)
    assert step.took_effect["toolcalls"] is ((level, shown) in {("on", "once"), ("off", "twice")})


def test_a_template_that_shows_text_or_calls_says_nothing_of_calls(world, folder):
    step = Step(world, folder, "either")
    assert step.of(0).rest == {"served", "twice"}
    assert (
        step.text["toolcalls"] == "not shown: the chat template shows the calls of 1 trained rollouts alike either way"
    )


@pytest.mark.parametrize("template", ["stock", "thinking"])
def test_without_tools_nothing_tells_whether_they_are_attached(template, world, folder):
    step = Step(world, folder, template, talks=(("Yes.",), ("Done.",)), served=[])
    assert step.took_effect == {"tools": None, "toolcalls": None, "toolorder": None}
    assert step.text["tools"] == "not shown: the prompts are the same without tools"


def test_a_step_that_trains_nothing_shows_nothing(world, folder):
    step = Step(world, folder, "stock", talks=(TALK,))  # one rollout has no advantage
    assert step.trained == [] and set(step.took_effect.values()) == {None}
    assert step.text == {
        "tools": "not shown: nothing was trained",
        "toolcalls": "not shown: no rollout with a call before its last turn was trained",
        "toolorder": "not shown: nothing was trained",
    }


def test_rollouts_that_sampled_the_same_are_told_apart_by_their_context(folder):
    """Two tasks, the same reply: each trained context is that of one of them, and of no other."""
    path = checkpoint(folder, "stock")
    tokenizer, contexts = AutoTokenizer.from_pretrained(path), Contexts(str(path), TOOLS)
    asked = [play(tokenizer, TOOLS, "Done.", task=f"task_{n}", key=f"{n}") for n in range(3)]
    trained = [context_of(one) for one in asked]
    assert [found.key for found in contexts.judge(trained[::-1], asked)] == ["2", "1", "0"]
    twice = contexts.judge([trained[0], trained[0]], asked)
    assert [found.served for found in twice] == [True, False]


def test_what_nobody_sampled_is_of_no_known_kind(folder):
    path = checkpoint(folder, "stock")
    asked = play(AutoTokenizer.from_pretrained(path), TOOLS, "Done.")
    foreign = TrainedContext((1, 2, 3), (2,))
    assert Contexts(str(path), TOOLS).judge([foreign], [asked]) == [ContextKind(None)]


def test_a_context_is_rendered_no_second_time_for_another_run(folder, monkeypatch):
    path = checkpoint(folder, "stock")
    contexts = Contexts(str(path), TOOLS)
    asked = play(AutoTokenizer.from_pretrained(path), TOOLS, *TALK)
    found = contexts.judge([context_of(asked)], [asked])
    monkeypatch.setattr("harness.backend.context.tokenize_trajectory", lambda *_, **__: pytest.fail("rendered again"))
    assert contexts.judge([context_of(asked)], [asked]) == found


def test_the_length_of_an_episode_is_that_of_its_rendering(folder):
    path = checkpoint(folder, "stock")
    contexts = Contexts(str(path), TOOLS)
    asked = play(AutoTokenizer.from_pretrained(path), TOOLS, *TALK)
    served = contexts.length(asked, TOOLS, Rendering())
    assert served == len(context_of(asked).ids)
    assert contexts.length(asked, None, Rendering()) < served < contexts.length(asked, TOOLS, Rendering(calls="twice"))
    silent = replace(asked.episode, turns=tuple(replace(turn, logprobs=None) for turn in asked.episode.turns))
    assert contexts.length(SourcedEpisode(silent, "silent", None), TOOLS, Rendering()) == 0


def context_of(asked) -> TrainedContext:
    """The context of an episode with all fixes on."""
    last = asked.episode.turns[-1]
    places, at = [], 0
    for turn in asked.episode.turns:
        at = len(turn.prompt_ids)
        places += range(at, at + len(turn.output_ids))
    return TrainedContext((*last.prompt_ids, *last.output_ids), tuple(places))
