"""Writes verifiers_0.4.0.jsonl: episodes of verifiers' own classes, by its own writer of traces.

In an environment with verifiers 0.4.0:

    python tests/probe/outside/write_verifiers.py
"""

import shutil
import tempfile
from pathlib import Path

from verifiers.v1.configs.agent import WireAgentConfig
from verifiers.v1.episode import Episode, GroupInfo, PolicySpan, TrainRunInfo, TrainWorkInfo
from verifiers.v1.graph import MessageNode
from verifiers.v1.task import TaskData
from verifiers.v1.trace import AgentInfo, Error, ModelCall, Reward, Trace, TraceTask
from verifiers.v1.types import AssistantMessage, Tool, ToolCall, ToolMessage, UserMessage
from verifiers.v1.utils.trace_store import TRACES_FILE, write_episode

HERE = Path(__file__).parent
EOS = 2


def trace(task: TraceTask, number: int) -> Trace:
    """A call, its answer and a text; each rollout says another last word. The fourth one raised before it began."""
    agent, tool = AgentInfo(config=WireAgentConfig()), Tool(name="add", parameters={"type": "object"})
    if number == 3:
        return Trace(task=task, agent=agent, tools=[tool], errors=[Error(type="TimeoutError", message="no answer")])
    call = ToolCall(id="c", name="add", arguments='{"a": 1, "b": 2}')
    asked, answered = UserMessage(content="1 + 2?"), ToolMessage(tool_call_id="c", content="3")
    advantage = (number - 1) * 1.5
    nodes = [
        MessageNode(message=asked, token_ids=[1, 11, 12], mask=[False] * 3),
        MessageNode(
            parent=0,
            message=AssistantMessage(tool_calls=[call]),
            sampled=True,
            token_ids=[9, 21, 22, EOS],
            mask=[False, True, True, True],
            logprobs=[-0.4, -0.2, -0.1],
            trainer_logprobs=[-0.4, -0.2, -0.1],
            advantages=[advantage] * 3,
        ),
        MessageNode(parent=1, message=answered, token_ids=[13, 14], mask=[False] * 2),
        MessageNode(
            parent=2,
            message=AssistantMessage(content=f"It is {number}."),
            sampled=True,
            token_ids=[9, 31, 32 + number, EOS],
            mask=[False, True, True, True],
            logprobs=[-0.3, -1.2, -0.1],
            trainer_logprobs=[-0.3, -1.2, -0.1],
            advantages=[advantage] * 3,
        ),
    ]
    calls = [
        ModelCall(node=node, model="policy@4", sampling={"temperature": 1.0}, finish_reason=reason)
        for node, reason in ((1, "tool_calls"), (3, "stop"))
    ]
    rewards = {"right": Reward(score=number / 2), "short": Reward(score=1.0, weight=0.25)}
    return Trace(
        task=task,
        agent=agent,
        tools=[tool],
        nodes=nodes,
        calls=calls,
        rewards=rewards,
        is_completed=True,
        ok=True,
        stop_condition="agent_completed",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for place in (5, 6):
            task = TraceTask(type="Adding", data=TaskData(idx=place, prompt="1 + 2?"))
            for number in range(4):
                work = TrainWorkInfo(step=4, policy=PolicySpan(start=4, end=4))
                run = TrainRunInfo(id="r", work=work)
                one = Episode(task=task, group=GroupInfo(id=f"g{place}"), run=run, traces=[trace(task, number)])
                write_episode(Path(folder), one)
        shutil.copy(Path(folder) / TRACES_FILE, HERE / "verifiers_0.4.0.jsonl")


if __name__ == "__main__":
    main()
