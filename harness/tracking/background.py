"""The one thread in which all of W&B happens, so that nothing of it can slow or break a run."""

import logging
import queue
import threading
from collections.abc import Callable

LOG = logging.getLogger("harness.tracking")


class Background:
    """One daemon thread that does all W&B work of the process, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Callable[[], None]] = queue.Queue()
        self.down = False
        self.errors: list[Exception] = []
        self._reported = False
        logging.raiseExceptions = False  # W&B logs beside its runs: on a full disk each line would be a traceback
        threading.Thread(target=self._work, name="wandb-view", daemon=True).start()

    def report(self, error: Exception) -> None:
        self.errors.append(error)
        if not self._reported:
            self._reported = True
            LOG.warning(
                "W&B failed and is not waited for (%s: %s). The records are complete; "
                "`python -m harness track <sweep folder>` writes them to W&B later.",
                type(error).__name__,
                error,
            )

    def drain(self, seconds: float) -> bool:
        """Wait until all queued work is done, `seconds` at most; whether it was."""
        done = threading.Event()
        self.queue.put(done.set)
        return done.wait(seconds)

    def _work(self) -> None:
        while True:
            self.queue.get()()


_background: Background | None = None
_lock = threading.Lock()


def background() -> Background:
    """The process's one W&B thread, started when first asked for."""
    global _background
    with _lock:
        if _background is None:
            _background = Background()
            # threading's own exit hooks run before atexit's, so before W&B closes its service.
            threading._register_atexit(_background.drain, 30.0)  # type: ignore[attr-defined]
        return _background


def drain(seconds: float = 60.0) -> bool:
    """Let W&B catch up at the end of a sweep, for `seconds` at most. False: it did not, or it failed."""
    return _background is None or (_background.drain(seconds) and not _background.errors)
