"""A sample of a sweep's rollouts, with the token ids that were served and those that were trained on.

Every arm, the first and the last training step, the same tasks for all arms of a seed: first those that both steps
have. Of the last validation the held-out tasks on which the arms of the seed differ most. Taken when a sweep has ended,
and again when it is archived, from trajectories.parquet and the store; so it needs a sweep that ran with reuse=on and
is still on the machine.
"""

import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from harness.config import SweepConfig, typed
from harness.env import load_environment
from harness.episode import Episode
from harness.errors import ConfigError
from harness.factors import NOTE
from harness.policy import load_policy, ready
from harness.records.json_files import write_lines
from harness.records.layout import SweepFiles
from harness.records.schema import TRAINING, VALIDATION, PlannedRun, Record
from harness.records.store import read_stored
from harness.seams import Rendering

if TYPE_CHECKING:
    from art import Trajectory

TASKS, ROLLOUTS = 2, 2  # of a seed and step; fewer where they would pass the limit
HELD_OUT = 4  # tasks of a seed's last validation
LIMIT = 3 << 20  # bytes, compressed
COLUMNS = ("step", "task", "rollout", "episode", "reward", "raw_reward", "end", "shared_with", "messages")

Place = tuple[str, int, str, int]  # kind, step, task and rollout number
Rows = Mapping[Place, Record]
Trained = Callable[[Episode, PlannedRun, Record], list[int]]  # token ids, given the row
Texts = Callable[[PlannedRun, Iterable[int]], dict[str, str]]  # of token ids, in the words of the run's policy


def sample(folder: Path) -> list[Record]:
    """Rollouts by seed, as many as fit below LIMIT. Raises ConfigError where none can be taken."""
    files = SweepFiles(folder)
    plan, steps = files.plan(), int(files.manifest().get("steps") or 0)
    rows = {run: _rows(files.run(run).trajectories, (0, steps - 1, steps)) for run in plan}
    if not any(rows.values()):
        raise ConfigError("no run has a trajectories.parquet that names its episodes")
    trained, texts = _trainer_of(files)
    taken: list[Record] = []
    text = b""
    for batch in _batches([plan[run] for run in plan if rows[run]], rows, (0, steps - 1)):
        more = [_rollout(files, planned, row, trained, texts) for planned, row in batch]
        text += "".join(json.dumps(line) for line in more).encode()
        if (size := len(lzma.compress(text, preset=1))) > LIMIT:
            if not taken:
                raise ConfigError(f"its first {len(more)} rollouts alone take {size:,} bytes, the limit is {LIMIT:,}")
            break
        taken += more
    if not taken:
        raise ConfigError("the arms of a seed have no task of the first or the last step in common")
    return sorted(taken, key=lambda r: (list(plan).index(r["run"]), r["kind"], r["step"], r["task"], r["rollout"]))


def keep_sample(folder: Path) -> None:
    """Keeps the sample of a sweep all of whose runs have completed, for its report; none where none can be taken."""
    files = SweepFiles(folder)
    if files.archived or not all(files.status(run).get("state") == "completed" for run in files.plan()):
        return
    with suppress(ConfigError):
        write_lines(files.sample_path, sample(folder))


def tasks_of(first: Sequence[str], last: Sequence[str]) -> tuple[list[str], list[str]]:
    """The tasks to take of the first and of the last step: those that both have come first."""
    both = [task for task in first if task in last]
    return tuple([*both, *(t for t in tasks if t not in both)][:TASKS] for tasks in (first, last))  # type: ignore[return-value]


def _batches(
    runs: Sequence[PlannedRun], rows: Mapping[str, Rows], steps: tuple[int, int]
) -> Iterator[list[tuple[PlannedRun, Record]]]:
    """(run, row) of all arms of a seed for one task and rollout number of each step; what matters most comes first."""
    for seed in sorted({run.seed for run in runs}):
        arms = [run for run in runs if run.seed == seed]
        shared = [_tasks([rows[run.run] for run in arms], step) for step in steps]
        chosen = dict(zip(steps, tasks_of(*shared), strict=True))
        for number in range(ROLLOUTS):
            for position in range(TASKS):
                places = [(TRAINING, at, task[position], number) for at, task in chosen.items() if position < len(task)]
                yield [(run, rows[run.run][place]) for run in arms for place in places if place in rows[run.run]]
        held_out = _moved([rows[run.run] for run in arms])
        yield [(run, rows[run.run][place]) for run in arms for place in held_out if place in rows[run.run]]


def _moved(rows: Sequence[Rows]) -> list[Place]:
    """The tasks of the last validation whose rewards differ most between runs."""
    rewards: dict[Place, list[float]] = {}
    for each in rows:
        for place, row in each.items():
            if place[0] == VALIDATION:
                rewards.setdefault(place, []).append(row["reward"])
    spread = {place: max(found) - min(found) for place, found in rewards.items()}
    return sorted(spread, key=lambda place: (-spread[place], place))[:HELD_OUT]


def _tasks(rows: Sequence[Rows], step: int) -> list[str]:
    """Tasks that every one of the runs was trained on at a step."""
    of_run = [{task for kind, at, task, _ in keys if (kind, at) == (TRAINING, step)} for keys in rows]
    return sorted(set.intersection(*of_run))


def _rows(path: Path, steps: tuple[int, ...]) -> Rows:
    """The rollouts of these steps; {} where there is no file, or one that names no episodes."""
    from pyarrow import parquet

    names = set(parquet.read_schema(path).names) if path.is_file() else set()
    if not set(COLUMNS) <= names:
        return {}
    columns = [*COLUMNS, *({"kind"} & names)]
    rows = parquet.read_table(path, columns=columns, filters=[("step", "in", list(steps))]).to_pylist()
    kept = ({"kind": TRAINING} | row for row in rows)
    return {(row["kind"], row["step"], row["task"], row["rollout"]): row for row in kept}


def _rollout(files: SweepFiles, planned: PlannedRun, row: Record, trained: Trained, texts: Texts) -> Record:
    """step: updates made before it; logprobs have 6 digits; texts: of single token ids. A validation trains nothing."""
    stored = read_stored(files.store, "episodes", row["episode"])
    if stored is None:
        raise ConfigError(f"the store has no episode {row['episode']}, which {planned.run} was trained on")
    episode = Episode.from_bytes(stored)
    trained_ids = trained(episode, planned, row) if row["kind"] == TRAINING else []
    served = (token for turn in episode.turns for token in (*(turn.prompt_ids or ()), *turn.output_ids))
    kept = ("kind", "step", "task", "rollout", "reward", "raw_reward", "end", "shared_with")
    return {
        "run": planned.run,
        **{name: row[name] for name in kept},
        "outcome": vars(episode.outcome),
        "messages": json.loads(row["messages"]),
        "turns": [
            {
                "prompt_ids": turn.prompt_ids,
                "output_ids": turn.output_ids,
                "logprobs": turn.logprobs and [round(p, 6) for p in turn.logprobs],
                "finish_reason": turn.finish_reason,
                "answered_by": turn.answered_by,
            }
            for turn in episode.turns
        ],
        "trained_ids": trained_ids,
        "texts": texts(planned, (*served, *trained_ids)),
    }


def _trainer_of(files: SweepFiles) -> tuple[Trained, Texts]:
    """What the trainer makes of an episode, ART's rendering of the trajectory that the arm's fixes build; and what its
    token ids say.

    Raises ConfigError where the policy or the tasks here are not those of the sweep.
    """
    from harness.backend.context import Contexts
    from harness.backend.tokenizer import tokenizer_of
    from harness.rollout import SourcedEpisode, trajectory

    config = _config(files)
    seams = {each.run.name: each.seams for each in config.runs}
    domain = load_environment(config.env.source, config.user.identity())
    loaded = {p: load_policy(p) for p in {c.policy for c in config.runs}}
    known = set((files.manifest().get("content") or {}).values())
    if not {policy.digest for policy in loaded.values()} <= known:
        raise ConfigError("the policy on this machine is not the one that the sweep ran with")
    if domain.digest not in known:
        raise ConfigError("the domain on this machine is not the one that the sweep ran with")
    of_policy = {p: Contexts(str(ready(policy).path), domain.tools) for p, policy in loaded.items()}
    contexts = {each.run.name: of_policy[each.policy] for each in config.runs}

    def trained(episode: Episode, planned: PlannedRun, row: Record) -> list[int]:
        asked = SourcedEpisode(episode, row["episode"], row["shared_with"])
        own = seams[planned.run]
        made: Trajectory = trajectory(asked, row["rollout"], own, domain.tools)
        return contexts[planned.run].ids_of(made, own.context(Rendering()))

    def texts(planned: PlannedRun, ids: Iterable[int]) -> dict[str, str]:
        tokenizer = tokenizer_of(contexts[planned.run].checkpoint)
        return {str(token): str(tokenizer.decode([token])) for token in sorted(set(ids))}

    return trained, texts


def _config(files: SweepFiles) -> SweepConfig:
    plan = files.plan()
    ours: dict[str, Any] = {
        "results": str(files.folder.parent),
        "sweep": files.folder.name,
        "plan_only": False,
        "baseline": files.manifest().get("baseline", NOTE),
        "factors": list(next(iter(plan.values())).levels),
    }
    return typed(*(OmegaConf.create({**files.config(run), **ours}) for run in plan))
