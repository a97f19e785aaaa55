"""Rollouts of one step on the real server, and what the endpoint's check says of them."""

from contextlib import AsyncExitStack
from dataclasses import replace

import art

from harness.backend import SKIPPED
from harness.episode import Turn
from harness.evidence import RolloutTable, gather_evidence
from harness.rollout import SourcedEpisode, trajectory
from harness.scoring import served_scores
from harness.seams import Names, Rendering, TaskSplit
from tests.fakes import SEAMS, TOOLS, Contexts, episode

STEP = 2


async def reply(server, name, number):
    messages = [{"role": "user", "content": f"say {number}"}]
    options = dict(logprobs=True, return_tokens_as_token_ids=True, return_token_ids=True, max_tokens=24, seed=number)
    body = (await server._post("chat/completions", {"model": name, "messages": messages, **options})).json()
    (choice,) = body["choices"]
    logprobs = tuple(token["logprob"] for token in choice["logprobs"]["content"])
    ids = tuple(choice["token_ids"])
    return Turn(
        tuple(body["prompt_token_ids"]), ids, logprobs, choice["message"]["content"], (), "stop", body["model"], 1.0
    )


async def step_of(server, run, asked, beside):
    """Four rollouts of the step, answered by whatever the server has under the name that is asked. beside: names whose
    adapters are loaded meanwhile"""
    sampled = {}
    async with AsyncExitStack() as loaded:
        for name in (*beside, asked):
            await loaded.enter_async_context(run.backend.serve(name))
        for number in range(4):
            turn = await reply(server, asked, number)
            played = episode("a", replace(turn, answered_by=run.backend.weights(turn.answered_by)))
            sampled["a", number] = SourcedEpisode(played, f"{asked} {number}", None)
    group = art.TrajectoryGroup([trajectory(one, number, SEAMS, TOOLS) for (_, number), one in sampled.items()])
    return RolloutTable(STEP, ["a"], 4, sampled, [group])


async def checked(server, run, level, beside=()):
    """The level's check of what the server answers to the name that the level asks for."""
    names = Names(pinned=f"{run.name}@0", current=f"{run.name}@{STEP}", before=f"{run.name}@{STEP - 1}")
    carried = level.model_name(names)
    asked = carried.removeprefix("hosted_vllm/")
    table = await step_of(server, run, asked, beside)
    scores = await served_scores(table, asked, names, run.backend, exact=True)
    evidence, _ = gather_evidence(
        table,
        {},
        SKIPPED,
        Contexts(),
        trained_contexts=None,
        rendering=Rendering(),
        names_carried=carried,
        names=names,
        after=names.current,
        submitted=table.groups,
        own_seed=lambda task, number: 0,
        weights=run.backend.weights,
        temperature=1.0,
        row_length=256,
        options={},
        split=TaskSplit((), ()),
        validated=None,
        exact=True,
        scores=scores,
    )
    return level.check(evidence)
