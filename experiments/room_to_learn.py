"""Which kinds of request a policy has room to learn: wrong when it is greedy, right often enough when sampled.

    python -m experiments.room_to_learn SWEEP

Reads the first validation of a sweep of generated tasks, whose names end in their kind, that asked for further samples
(`validation.samples`, `validation.sample_temperature`). A kind is kept where greedy decoding solves less than GREEDY of
its tasks and sampling between SAMPLED[0] and SAMPLED[1] of them: a group of rollouts then has spread. The table goes to
standard error, the kinds that are kept to standard output, as `env.kinds=[…]` takes them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from harness.records.load import load_sweep

GREEDY = 0.5
SAMPLED = (0.2, 0.8)


def success_by_kind(
    greedy: Mapping[str, float | None], sampled: Mapping[str, Sequence[float | None]]
) -> dict[str, tuple[float, float, int]]:
    """By kind the mean reward of greedy and of sampled episodes, and the number of tasks; missing ones are left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for task, reward in greedy.items():
        rewards = [one for one in sampled.get(task, ()) if one is not None]
        if reward is not None and rewards:
            found.setdefault(task.rpartition(".")[2], []).append((reward, mean(rewards)))
    return {
        kind: (mean(one for one, _ in pairs), mean(many for _, many in pairs), len(pairs))
        for kind, pairs in sorted(found.items())
    }


def has_room(greedy: float, sampled: float) -> bool:
    return greedy < GREEDY and SAMPLED[0] <= sampled <= SAMPLED[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", type=Path, help="a folder of results")
    validations = [first for run in load_sweep(parser.parse_args().sweep).runs for first in run.validations[:1]]
    found = success_by_kind(validations[0].by_task, validations[0].sampled) if validations else {}
    if not found:
        print("This sweep validated nothing with further samples: give validation.samples=6.", file=sys.stderr)
        return 1
    print("| kind | tasks | greedy | sampled | kept |\n|---|---|---|---|---|", file=sys.stderr)
    for kind, (greedy, sampled, tasks) in found.items():
        kept = "yes" if has_room(greedy, sampled) else ""
        print(f"| {kind} | {tasks} | {greedy:.2f} | {sampled:.2f} | {kept} |", file=sys.stderr)
    print(",".join(kind for kind, (greedy, sampled, _) in found.items() if has_room(greedy, sampled)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
