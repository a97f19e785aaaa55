"""What a user who is a model will cost, before anything runs: messages, tokens, money at list prices.

A sweep of the same policy, domain and user that has ended says how many messages an episode takes. Without one: an
opening, and a message for each turn of the scripted user, or ASSUMED for a user who is asked to confirm. There is no
more than one for each reply of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.layout import SweepFiles

ASSUMED = 6  # messages of an episode: an opening, three answers, a yes, the stop
CHARACTERS = 4  # of a token, about
POLICY_TOKENS, USER_TOKENS = 60, 40  # of a text of the policy, and of a message of the user: assumed
MILLION = 10**6


@dataclass(frozen=True)
class PlannedUser:
    """model: its name; roles: characters of what it is told, over the tasks, on average

    messages: of an episode, where the environment says so; replies: of the policy in an episode, at most
    """

    model: str
    roles: float
    messages: float | None
    replies: int


@dataclass(frozen=True)
class UserTokens:
    messages: int
    prompt: int
    reply: int


def tokens(user: PlannedUser, episodes: int, messages: float) -> UserTokens:
    """Of so many episodes with so many messages each: a message is asked for with all that was said before."""
    said = POLICY_TOKENS + USER_TOKENS
    prompt = messages * (user.roles / CHARACTERS + 10) + said * messages * (messages - 1) / 2
    return UserTokens(round(episodes * messages), round(episodes * prompt), round(episodes * messages * USER_TOKENS))


def cost_lines(user: PlannedUser, episodes: int, earlier: Sequence[Path]) -> Iterator[str]:
    """What the plan says of it. earlier: finished sweeps of the same policy, domain and user"""
    from harness.users.prices import dollars, price_of  # litellm loads with it: only where a model is the user

    measured = _measured(earlier)
    messages = measured[0] if measured else user.messages or ASSUMED
    why = f"measured in {measured[1]}" if measured else "assumed; no earlier sweep with this user is there"
    about, most = tokens(user, episodes, messages), tokens(user, episodes, user.replies + 1)
    yield (
        f"user's messages: about {about.messages:,} ({messages:.2g} of an episode: {why}), {_millions(about)}; at most "
        f"{most.messages:,} (one for each of the policy's {user.replies} replies), {_millions(most)}"
    )
    if (price := price_of(user.model)) is None:
        yield f"user's price: not known; litellm's map has none for {user.model}"
        return
    prompt, reply = (f"${1000 * nano / MILLION:g}" for nano in (price.prompt, price.reply))
    low, high = (dollars(price.of(each.prompt, each.reply)) for each in (about, most))
    yield (
        f"user's price: about {low}, at most {high}, at {prompt} and {reply} for a million tokens of prompts and of "
        f"replies (list prices of {price.source}). What arms share is paid once; here each arm counts"
    )


def _millions(of: UserTokens) -> str:
    return f"{of.prompt / MILLION:.3g} M tokens of prompts and {of.reply / MILLION:.2g} M of replies"


def _measured(earlier: Sequence[Path]) -> tuple[float, Path] | None:
    """Messages of an episode in the newest sweep that says so."""
    for folder in earlier:
        reuse = SweepFiles(folder).reuse()
        user, episodes = reuse.get("user"), reuse.get("episodes")
        if isinstance(user, Mapping) and isinstance(episodes, Mapping) and episodes.get("computed"):
            return (user.get("calls", 0) + user.get("found", 0)) / episodes["computed"], folder
    return None
