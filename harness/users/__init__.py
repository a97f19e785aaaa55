"""Users that are language models, through litellm: `user=llm`.

    model_user.py  ModelUser: one conversation's user, what it has heard and said, when it stops
    asking.py      UserModel: one reply, found or asked for; retries, how many at once, what each cost
    provider.py    whether the model can be asked: its provider, its key
    replies.py     Replies: what was said, stored under the digest of all that it depends on
    prices.py      litellm's price map: what tokens cost, what a sweep will cost

A user knows its role (`harness.env.Role`) and what the policy said, and neither tools nor policy. What was said once is
found again, so that a validation is repeated without asking. A key comes from the environment alone, and stands in no
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.env import Environment, load_environment
from harness.sections import UserConfig

if TYPE_CHECKING:  # litellm loads with it
    from harness.users.asking import UserModel

__all__ = ["attached", "load_played"]


def attached(
    environment: Environment, user: UserConfig, store: Path, reuse: bool = True, at_once: int | None = None
) -> Environment:
    """The environment with its users on: the model where `user` is one, else the environment as it is.

    store: the sweep's folder of results; reuse: whether what was said is found there again
    at_once: requests at once of this process; None: all that the configuration allows
    Raises ConfigError where the model cannot be asked: an unknown provider, no key.
    """
    if user.kind != "llm":
        return environment
    from harness.users.asking import UserModel
    from harness.users.model_user import ModelUser

    model: UserModel = UserModel.of(user, store, reuse, at_once)
    return environment.played_by(lambda role, seed: ModelUser(role, seed, model))  # type: ignore[attr-defined, no-any-return]


def load_played(source: Mapping[str, Any], user: UserConfig, store: Path, reuse: bool, at_once: int) -> Environment:
    """What a player process plays in: see `load_environment`, and `attached`."""
    return attached(load_environment(source, user.identity()), user, store, reuse, at_once)
