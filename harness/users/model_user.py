"""One conversation's user who is a model: what it has heard and said, and when it stops.

The messages are those of tau-bench's and tau2's simulators: the role as system message, the assistant's texts as
`user`, its own as `assistant`. It sees no tool calls. A message with a stop word ends the conversation, whatever else
it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from harness.env import Role
from harness.factors import derive_seed
from harness.users.asking import Pay, Spent


class Model(Protocol):
    async def reply(self, messages: list[dict[str, str]], seed: int, role: Role, opens: bool, pay: Pay) -> str: ...


class ModelUser:
    """See `harness.env.AwaitedUser`. seed: of its luck; each of its messages is asked for with one drawn from it"""

    def __init__(self, role: Role, seed: int, model: Model) -> None:
        self.role, self.seed, self.model = role, seed, model
        self.cost = Spent()
        self.messages = [{"role": "system", "content": role.system}, {"role": "user", "content": role.greeting}]

    @property
    def spent(self) -> Mapping[str, int]:
        return vars(self.cost)

    async def opening(self) -> str:
        return await self._next(opens=True)

    async def reply(self, text: str) -> str | None:
        self.messages.append({"role": "user", "content": text})
        said = await self._next(opens=False)
        return None if self.role.ends(said) else said

    async def _next(self, opens: bool) -> str:
        seed = derive_seed(self.seed, "message", len(self.messages) // 2)
        said = await self.model.reply(self.messages, seed, self.role, opens, self._pay)
        self.messages.append({"role": "assistant", "content": said})
        return said

    def _pay(self, spent: Spent) -> None:
        self.cost = self.cost.and_(spent)
