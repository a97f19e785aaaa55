"""The process in which all of W&B happens. Where W&B hangs, it is killed, so nothing in here needs a time limit.

    python -m harness.tracking.wandb_process PARENT      reads lines on stdin, writes lines on stdout

    <- {"run": id, "start": {…}}                         arguments of wandb.init; online, the first of a group:
                                                         -> {"group": its address}
    <- {"run": id, "log": {…}}                           a row
    <- {"run": id, "media": {"tables": {name: {columns, data}}, "images": {name: path}}}
    <- {"run": id, "artifact": {name, type, files: {name: path}}}
    <- {"run": id, "summaries": {id: {…}}}               added to those of runs that have ended, in the project of this
                                                         one; nothing offline
    <- {"run": id, "finish": {…}, "exit_code": 0}        -> {"written": id}
    <- {"end": true}                                     what is left is written, then the process ends with 0
                                                         -> {"failed": text}, and the process ends with 1

PARENT is the id of the process that started it. It ends with that process, and wandb-core with it. What wandb and
wandb-core print goes to standard error.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO
from urllib.parse import quote

import psutil

if TYPE_CHECKING:
    from wandb import Artifact, Run, Settings

INIT_SECONDS = 30.0  # for W&B to take a new run, which meanwhile trains
LOOK_SECONDS = 0.5  # between looks whether the parent lives
AT_ONCE = 8  # requests that add to summaries
PAGE = 500  # runs of an answer


class Runs:
    """The W&B runs that are open, by id."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._open: dict[str, Run] = {}
        self._ending: list[threading.Thread] = []
        self._groups: set[str] = set()  # whose addresses were said

    def take(self, told: Mapping[str, Any]) -> None:
        """Raises whatever wandb raises."""
        if "start" in told:
            run = self._open[told["run"]] = _started(told["start"])
            if (address := group_address(run)) and address not in self._groups:
                self._groups.add(address)
                say(self._answers, group=address)
        elif "log" in told:
            self._open[told["run"]].log(told["log"])
        elif "media" in told:
            self._open[told["run"]].log(_media(told["media"]))
        elif "artifact" in told:
            self._open[told["run"]].log_artifact(_artifact(told["artifact"]))
        elif "summaries" in told:
            run = self._open[told["run"]]
            if told["summaries"] and not run.offline:
                self._beside(_add, f"{run.entity}/{run.project}", told["summaries"])
        else:
            # All at once: each waits for the server's answer, and the runs of a sweep end together.
            self._beside(self._finish, self._open.pop(told["run"]), told)

    def wait(self) -> None:
        """Until every run that was to finish has."""
        for ending in self._ending:
            ending.join()

    def _beside(self, work: Callable[..., None], *arguments: Any) -> None:
        """In a thread, while calls of other runs are taken."""

        def guarded() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                fail(self._answers, error)

        ending = threading.Thread(target=guarded, daemon=True)
        ending.start()
        self._ending.append(ending)

    def _finish(self, run: "Run", told: Mapping[str, Any]) -> None:
        run.summary.update(told["finish"])
        run.finish(exit_code=told["exit_code"])
        say(self._answers, written=told["run"])


def group_address(run: "Run") -> str:
    """Where a browser finds the runs of the sweep; "" offline."""
    return f"{run.project_url}/groups/{quote(run.group, safe='')}" if run.project_url and not run.offline else ""


def _started(init: dict[str, Any]) -> "Run":
    import wandb

    if init["mode"] == "offline":
        for older in Path(init["dir"]).glob(f"wandb/offline-run-*-{init['id']}"):
            shutil.rmtree(older)  # an earlier view of the same records
    run = wandb.init(**init, reinit="create_new", settings=_quiet_settings())
    run.define_metric("step", hidden=True)
    for keys in ("val/*", "reported/*", "val_gap", "train/*", "check/*"):
        run.define_metric(keys, step_metric="step")
    return run


def _add(project: str, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """project: its path; summaries: by the id of a run"""
    import wandb

    ids = {"name": {"$in": list(summaries)}}
    found = wandb.Api().runs(project, filters=ids, per_page=PAGE, lazy=False)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda run: run.summary.update(dict(summaries[run.id])), found))


def _media(media: Mapping[str, Any]) -> dict[str, Any]:
    import wandb

    tables = {name: wandb.Table(columns=t["columns"], data=t["data"]) for name, t in media["tables"].items()}
    return tables | {name: wandb.Image(path) for name, path in media["images"].items()}


def _artifact(asked: Mapping[str, Any]) -> "Artifact":
    import wandb

    made = wandb.Artifact(asked["name"], asked["type"])
    for name, path in asked["files"].items():
        made.add_file(path, name=name, skip_cache=True)
    return made


def _quiet_settings() -> "Settings":
    import wandb

    # Many runs share this process: its console, code, git state and machine load belong to none of them
    # (the sweep's manifest has them), and looking them up 64 times costs more than all the logging.
    return wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        init_timeout=INIT_SECONDS,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


_saying = threading.Lock()


def say(answers: TextIO, **answer: Any) -> None:
    with _saying:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def fail(answers: TextIO, error: BaseException) -> NoReturn:
    """Ends the process: W&B is given up for all runs, and the records hold what it misses."""
    text = " ".join(f"{type(error).__name__} {error}".split())
    text = text.partition(" Please ")[0].rstrip(".")  # advice on settings that are not the user's
    try:
        say(answers, failed=text)
    finally:
        leave()


def leave() -> NoReturn:
    """At once, and with wandb-core: wandb's own exit hooks would wait for the server."""
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


def leave_with(parent: int) -> NoReturn:
    """Waits for the parent's end, however it comes: a pipe would not tell while a call of W&B's hangs."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    leave()


def main() -> None:
    threading.Thread(target=leave_with, args=(int(sys.argv[1]),), daemon=True).start()
    told, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # wandb asks a terminal for a key
    os.dup2(2, 1)
    runs = Runs(answers)
    try:
        import wandb  # noqa: F401  # before the first run needs it

        for line in told:
            message = json.loads(line)
            if "end" in message:
                runs.wait()
                return
            runs.take(message)
    except BaseException as error:
        fail(answers, error)
    leave()  # the parent has closed the pipe without a word


if __name__ == "__main__":
    main()
