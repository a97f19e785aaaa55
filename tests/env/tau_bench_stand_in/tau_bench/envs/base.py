import json
from hashlib import sha256
from pathlib import Path

from tau_bench.types import Action, Info, Response, RewardInfo, RewardResult, Task


def to_hashable(item):
    if isinstance(item, dict):
        return tuple((key, to_hashable(value)) for key, value in sorted(item.items()))
    return tuple(map(to_hashable, item)) if isinstance(item, list) else item


class Env:
    folder: Path
    tools: tuple = ()
    terminate_tools = ("transfer_to_human_agents",)

    def __init__(self, user_strategy, task_split, task_index=None):
        assert user_strategy == "human"
        self.user = None
        self.wiki = (self.folder / "wiki.md").read_text()
        self.tools_map = {tool.name: tool for tool in self.tools}
        self.tools_info = [tool.get_info() for tool in self.tools]
        self.tasks = [Task(**task) for task in json.loads((self.folder / "tasks.json").read_text())[task_split]]
        self.data_load_func = lambda: json.loads((self.folder / "data.json").read_text())
        self.data = self.data_load_func()
        self.task = self.tasks[task_index]
        self.actions: list[Action] = []

    def reset(self, task_index):
        self.data, self.task, self.actions = self.data_load_func(), self.tasks[task_index], []
        return Response(observation=self.user.reset(instruction=self.task.instruction))

    def step(self, action):
        self.actions.append(action)
        done = False
        if action.name == "respond":
            said = self.user.step(action.kwargs["content"])
            done = "###STOP###" in said
        elif action.name in self.tools_map:
            try:
                said = self.tools_map[action.name].invoke(data=self.data, **action.kwargs)
            except Exception as error:
                said = f"Error: {error}"
            done = action.name in self.terminate_tools
        else:
            said = f"Unknown action {action.name}"
        if not done:
            return Response(observation=said)
        result = self.calculate_reward()
        return Response(observation=said, reward=result.reward, done=True, info=Info(reward_info=result))

    def get_data_hash(self):
        return sha256(str(to_hashable(self.data)).encode()).hexdigest()

    def calculate_reward(self):
        end = self.get_data_hash()
        texts = [a.kwargs["content"].lower().replace(",", "") for a in self.actions if a.name == "respond"]
        self.data = self.data_load_func()
        for action in self.task.actions:
            if action.name not in self.terminate_tools:
                self.step(action)
        outputs = {output: any(output.lower() in text for text in texts) for output in self.task.outputs}
        reward = float(end == self.get_data_hash() and all(outputs.values()))
        return RewardResult(reward=reward, info=RewardInfo(outputs=outputs))
