"""Which LoRA adapters the server holds: leased ones stay, idle ones go, least recently used first."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.errors import EngineError


class AdapterSlots:
    """At most `capacity` adapters loaded at once. `load(name, path)` and `unload(name)` talk to the server."""

    def __init__(
        self,
        capacity: int,
        load: Callable[[str, Path], Awaitable[None]],
        unload: Callable[[str], Awaitable[None]],
    ):
        self.capacity = capacity
        self.loaded: OrderedDict[str, Path] = OrderedDict()  # least recently used first
        # what a call that failed or was cancelled may have left there: each takes a slot until it is unloaded
        self._doubtful: dict[str, None] = {}
        self.leases: Counter[str] = Counter()
        # every name ever given: a name means one path for the server's life
        self._paths: dict[str, Path] = {}
        self._load, self._unload = load, unload
        self._lock = asyncio.Lock()
        self._freed = asyncio.Event()

    async def acquire(self, name: str, path: Path) -> None:
        """Loads the adapter unless it is there and keeps it until `release`. Waits while every slot is leased."""
        await self._hold(name, path, lease=True)

    async def ensure(self, name: str, path: Path) -> None:
        """Loads the adapter unless it is there; it may go again as soon as another one needs the slot."""
        await self._hold(name, path, lease=False)

    def release(self, name: str) -> None:
        self.leases[name] -= 1
        self._freed.set()

    async def drop(self, name: str) -> None:
        """Unloads the adapter now. Raises EngineError while a lease holds it; unloading what is not there is fine."""
        async with self._lock:
            if self.leases[name] > 0:
                raise EngineError(f"Adapter '{name}' is leased {self.leases[name]} times: unload it after they end.")
            if name in self.loaded or name in self._doubtful:
                await self._remove(name)
                self._freed.set()

    async def _hold(self, name: str, path: Path, lease: bool) -> None:
        known = self._paths.setdefault(name, path)
        if known != path:
            # The server keys its prefix cache by adapter name: a second path would be answered from stale blocks.
            raise EngineError(
                f"Adapter name '{name}' already means {known}, now {path} was given. Use a new name for new weights."
            )
        while True:
            async with self._lock:
                if await self._make_room(name):
                    if name not in self.loaded:
                        self._doubtful[name] = None
                        await self._load(name, path)
                        del self._doubtful[name]
                        self.loaded[name] = path
                    self.loaded.move_to_end(name)
                    self.leases[name] += lease
                    return
                self._freed.clear()
            await self._freed.wait()

    async def _make_room(self, name: str) -> bool:
        """True once `name` is loaded or has a free slot; False when every slot is leased."""
        while name not in self.loaded and len(self.loaded) + len(self._doubtful.keys() - {name}) >= self.capacity:
            idle = (other for other in self.loaded if self.leases[other] == 0)
            other = next((other for other in self._doubtful if other != name), None) or next(idle, None)
            if other is None:
                return False
            await self._remove(other)
        return True

    async def _remove(self, name: str) -> None:
        self.loaded.pop(name, None)
        self._doubtful[name] = None
        await self._unload(name)
        del self._doubtful[name]
