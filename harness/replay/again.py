"""A sweep's store, read only: what a replay asks for is found in it, and a drawn share is computed again.

The chain of a run goes on with what is stored, so a difference stays where it arose and no later step inherits it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import EpisodeError, StoreError
from harness.records.store import Found, Store, digest, read_entry
from harness.replay.findings import DIFFERS, EPISODES, NOT_COMPUTED, Compared

Compare = Callable[[str, str, bytes, bytes], Compared]


def is_drawn(seed: int, share: float, kind: str, key: str) -> bool:
    """The same for everybody who names the seed."""
    return int(digest("replay", seed, kind, key)[:8], 16) < share * 2**32


@dataclass
class Again(Store):
    """path: an empty folder of our own; of: the sweep's store, in which nothing is written.

    compare: what is to be said of (kind, the run that asks, stored, again)
    An episode that the store lacks is an EpisodeError, as it was when infrastructure failed: missing data. An update
    that it lacks is a StoreError: the chain cannot go on.
    """

    of: Path = Path()
    share: float = 0.0
    seed: int = 0
    compare: Compare = lambda kind, run, stored, again: Compared(kind, run, DIFFERS)
    compared: list[Compared] = field(default_factory=list)
    met: dict[tuple[str, str], bool] = field(default_factory=dict)  # entries, and whether they were drawn

    def file(self, kind: str, key: str) -> Path:
        return self.of / kind / key[:2] / key

    async def _read_or_compute(self, kind: str, key: str, by: str, compute: Callable[[], Awaitable[bytes]]) -> Found:
        stored = await self._on_disk(key, read_entry, self.of, kind, key)
        if stored is None:
            raise _absent(kind, key)
        if (kind, key) not in self.met:
            self.met[kind, key] = drawn = is_drawn(self.seed, self.share, kind, key)
            if drawn:
                self.compared.append(await self._again(kind, key, by, stored.value, compute))
        return stored

    async def _again(
        self, kind: str, key: str, by: str, stored: bytes, compute: Callable[[], Awaitable[bytes]]
    ) -> Compared:
        try:
            again = await compute()
        except EpisodeError as error:
            return Compared(kind, f"{key} of {by}", NOT_COMPUTED, str(error))
        found = self.compare(kind, by, stored, again)
        return Compared(kind, f"{key} of {by}", found.verdict, found.detail, found.turns)

    def drawn(self, kind: str) -> tuple[int, int]:
        """How many of how many different entries that the replay met."""
        of_kind = [drawn for (each, _), drawn in self.met.items() if each == kind]
        return sum(of_kind), len(of_kind)


def _absent(kind: str, key: str) -> Exception:
    if kind == EPISODES:
        return EpisodeError(f"The store has no episode {key}.")
    return StoreError(f"The store has no update {key}, which this machine asks for.")
