from typing import Any

from pydantic import BaseModel


class Action(BaseModel):
    name: str
    kwargs: dict[str, Any]


class Task(BaseModel):
    user_id: str
    instruction: str
    actions: list[Action]
    outputs: list[str]


class RewardInfo(BaseModel):
    outputs: dict[str, bool] = {}


class RewardResult(BaseModel):
    reward: float
    info: RewardInfo


class Info(BaseModel):
    reward_info: RewardResult | None = None


class Response(BaseModel):
    observation: str
    reward: float = 0.0
    done: bool = False
    info: Info = Info()
