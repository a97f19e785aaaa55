"""Episodes of an ART project, played by the project's own rollout (env/project.py).

The rollout is given a model whose endpoint is ours: a server on loopback, one for each episode, that passes every chat
completion on to the policy's server. There the fixes of endpoint, exploration and logprobs act, whatever client the
rollout uses: name, temperature, seed and log-probs are the harness's, messages and tools the rollout's. Each reply is
kept with its token ids. The trajectory that comes back says which of them it holds; its reward and its success are the
project's own.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web
from openai.types.chat.chat_completion import Choice

from harness.completion import PROVIDER, ContextFull, Request, complete
from harness.env import Environment
from harness.env.project import Project
from harness.episode import Episode, Turn
from harness.episode_player import EpisodePlayer, Job, Plays
from harness.errors import EngineError, EpisodeError, HarnessError, raised
from harness.seams import Outcome

if TYPE_CHECKING:
    import art

SUCCESS = "success"  # the metric of a trajectory that says whether its task was solved
PASSED_ON = ("messages", "tools", "max_tokens", "max_completion_tokens")
OURS = ("model", "temperature", "seed", "logprobs", "top_logprobs", "return_tokens_as_token_ids", "return_token_ids")
NO_MATTER = {"stream": (None, False), "n": (None, 1), "tool_choice": (None, "auto"), "stream_options": (None,)}
UNREAD = ("user", "metadata", "store")
LARGEST = 64 * 2**20  # bytes of a request


def player_of(world: Environment, in_flight: int) -> Plays:
    """What plays the episodes of an environment, or of a project, in this process."""
    return ProjectPlayer(world, in_flight) if isinstance(world, Project) else EpisodePlayer(world, in_flight)


class ProjectPlayer:
    """`Plays` for a project. in_flight: requests to the server at once"""

    def __init__(self, project: Project, in_flight: int) -> None:
        import art  # a process that plays no project does without its torch

        self.project = project
        self._model = art.Model[Any]
        self._requests = asyncio.Semaphore(in_flight)

    async def play(self, job: Job) -> Episode:
        """See `Plays`. Raises EpisodeError, too, if the rollout raises by itself, and EngineError for a trajectory that
        holds what was never sampled, or a request that cannot be passed on."""
        started = time.perf_counter()
        line = Line(job, self.project.tools, self._requests)
        async with line.served() as url:
            model = self._model(
                name=self.project.name,
                project=self.project.name,
                inference_model_name=job.model.removeprefix(PROVIDER),
                inference_base_url=url,
                inference_api_key=job.api_key,
            )
            try:
                made = await self.project.rollout(model, self.project.task(job.task_id))
            except Exception as error:
                if line.failure is None and not line.full:
                    raise EpisodeError(f"The rollout of task {job.task_id} raised {raised(error)}") from error
                made = None
        if line.failure is not None:
            raise line.failure
        if made is None:
            messages, turns, outcome = line.cut()
        else:
            messages, turns = _held(made, line.turns, job.task_id)
            outcome = _outcome(made, turns, job.task_id)
        middle = range(1, len(turns) - 1)
        kept = tuple(replace(turn, prompt_ids=None) if i in middle else turn for i, turn in enumerate(turns))
        return Episode(job.task_id, messages, kept, outcome, time.perf_counter() - started, dict(job.user))


@dataclass
class Line:
    """What one rollout asks of the policy's server.

    turns: the replies, in the order in which they came; asked: requests, also those under way
    failure: the first that was no end of an episode; from then on nothing is asked any more
    full: whether a prompt filled the context, or the rollout asked for more replies than an episode may have
    """

    job: Job
    tools: Sequence[Mapping[str, Any]]
    requests: asyncio.Semaphore
    turns: list[Turn] = field(default_factory=list)
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    failure: HarnessError | None = None
    full: str = ""
    asked: int = 0

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serves the rollout until it has ended; the base URL."""
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.job.api_key}":
            return _refused(401, "expected the API key of the model that the rollout was given")
        try:
            turn, prompt_tokens = await self._complete(await request.json())
        except ContextFull as error:
            self.full = self.full or "length"
            return _refused(400, f"the maximum context length is reached: {error}")
        except HarnessError as error:
            self.failure = self.failure or error
            return _refused(400, str(error))
        return web.json_response(_completion(len(self.turns), turn, prompt_tokens))

    async def _complete(self, asked: dict[str, Any]) -> tuple[Turn, int]:
        if self.failure is not None:
            raise self.failure
        _check(asked, self.tools)
        number, sampling = self.asked, self.job.sampling
        self.asked += 1
        if number >= sampling.max_turns:
            self.full = "turn_limit"
            raise ContextFull(f"an episode has at most {sampling.max_turns} replies (rollout.max_turns)")
        wanted = [asked[name] for name in ("max_tokens", "max_completion_tokens") if asked.get(name)]
        self.sent = asked["messages"]
        reply = await complete(
            Request(
                self.job.base_url,
                self.job.api_key,
                self.job.model,
                asked["messages"],
                asked.get("tools") or (),
                sampling.temperature,
                min([sampling.max_tokens, *wanted]),
                self.job.seed + number,
                with_prompt_ids=True,
            ),
            self.requests,
            self.job.need_logprobs,
        )
        self.turns.append(reply.turn)
        return reply.turn, reply.prompt_tokens

    def cut(self) -> tuple[tuple[dict[str, Any] | int, ...], list[Turn], Outcome]:
        """Messages, turns and outcome of an episode that a limit has ended: those of its last request."""
        messages: list[dict[str, Any] | int] = []
        turns: list[Turn] = []
        for message in self.sent:
            said = message.get("role") == "assistant"
            turn = next((t for t in self.turns[len(turns) :] if _says(message, t)), None) if said else None
            messages.append(dict(message) if turn is None else len(turns))
            turns += [] if turn is None else [turn]
        return tuple(messages), turns, Outcome(0.0, 0, 0, 0, 0, None, self.full)


def _check(asked: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> None:
    """Raises EngineError for a request that cannot be passed on as it is."""
    for name, value in asked.items():
        if name in NO_MATTER and value not in NO_MATTER[name]:
            raise EngineError(f"The rollout asks for {name}={value!r}, and only {NO_MATTER[name][-1]!r} is passed on.")
        if name not in (*PASSED_ON, *OURS, *NO_MATTER, *UNREAD) and value is not None:
            raise EngineError(
                f"The rollout's request has {name!r}, which is not passed on, so the arms would not be what they are "
                f"called. Leave it out; these are: {', '.join(PASSED_ON)}."
            )
    if not isinstance(asked.get("messages"), list):
        raise EngineError("The rollout's request has no list of messages.")
    if (asked.get("tools") or []) != list(tools):
        raise EngineError(
            f"The rollout sends {len(asked.get('tools') or [])} tools, and its Project names {len(tools)} others. "
            "Give Project the very schemas that are sent."
        )


def _held(
    made: "art.Trajectory", turns: Sequence[Turn], task_id: str
) -> tuple[tuple[dict[str, Any] | int, ...], list[Turn]]:
    """Messages with an index in the place of each choice, and the turns that they stand for. Raises EngineError for a
    choice that no request gave, or for further histories."""
    if made.additional_histories:
        raise EngineError(f"The trajectory of task {task_id} has further histories; only its own messages are read.")
    messages: list[dict[str, Any] | int] = []
    kept: list[Turn] = []
    left = list(turns)
    for each in made.messages_and_choices:
        if not isinstance(each, Choice):
            messages.append(dict(each))
            continue
        place = next((i for i, turn in enumerate(left) if _is(each, turn)), None)
        if place is None:
            raise EngineError(
                f"The trajectory of task {task_id} holds a choice that no request of its rollout gave. Keep choices "
                "as they came, and ask the model that the rollout is given (model.inference_base_url)."
            )
        messages.append(len(kept))
        kept.append(left[place])
        left = left[place + 1 :]
    return tuple(messages), kept


def _is(choice: Choice, turn: Turn) -> bool:
    """Whether a choice is this reply: by its token ids where it has them, else by what it says."""
    tokens = choice.logprobs.content if choice.logprobs else None
    if tokens and all(token.token.startswith("token_id:") for token in tokens):
        return tuple(int(token.token.removeprefix("token_id:")) for token in tokens) == turn.output_ids
    return _says(choice.message.model_dump(), turn)


def _says(message: Mapping[str, Any], turn: Turn) -> bool:
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return (message.get("content") or "") == (turn.content or "") and [
        (call["name"], call["arguments"]) for call in calls
    ] == [(call["name"], call["arguments"]) for call in turn.tool_calls][: len(calls) or None]


def _outcome(made: "art.Trajectory", turns: Sequence[Turn], task_id: str) -> Outcome:
    reward, success = float(made.reward), float(made.metrics.get(SUCCESS, made.reward))
    if not math.isfinite(reward):
        raise EngineError(f"The trajectory of task {task_id} has reward {reward}; expected a finite number.")
    if not 0.0 <= success <= 1.0:
        what = f"metric {SUCCESS!r}" if SUCCESS in made.metrics else "reward, which stands for its success,"
        raise EngineError(
            f"The trajectory of task {task_id} has the {what} {success}; expected 0 to 1, which validation is made of. "
            f"Give trajectory.metrics[{SUCCESS!r}]; the reward may be any number."
        )
    end = "length" if any(turn.finish_reason == "length" for turn in turns) else "user_stop"
    return Outcome(success, 0, 0, 0, 0, None, end, shaped=reward)


def _completion(number: int, turn: Turn, prompt_tokens: int) -> dict[str, Any]:
    """The reply as vLLM gives it with `return_tokens_as_token_ids`."""
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in turn.tool_calls
    ]
    tokens: list[dict[str, Any]] = [
        {"token": f"token_id:{i}", "logprob": p, "bytes": None, "top_logprobs": []}
        for i, p in zip(turn.output_ids, turn.logprobs or (), strict=False)
    ]
    sampled = len(turn.output_ids)
    message = {"role": "assistant", "content": turn.content, **({"tool_calls": calls} if calls else {})}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": turn.answered_by,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": turn.finish_reason,
                "logprobs": {"content": tokens} if turn.logprobs is not None else None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": sampled,
            "total_tokens": prompt_tokens + sampled,
        },
    }


def _refused(status: int, text: str) -> web.Response:
    error = {"message": text, "type": "BadRequestError", "param": None, "code": status}
    return web.Response(status=status, text=json.dumps({"error": error}), content_type="application/json")
