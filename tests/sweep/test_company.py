"""A run asks the same and records the same alone and beside seven others: nothing of a run depends on its company.

The stand-in for vLLM answers a request by its content alone; that the real server does so, too, is measured on each
machine (harness/launch/certificate.py). Trainer, loop, store and records are the real ones.
"""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.designs import leave_one_out
from harness.engine.trainer_process import TrainerThread
from harness.episode import same_rollout
from harness.fixes.registry import note
from harness.records.layout import SweepFiles
from harness.records.schema import NOT_RESULTS
from harness.records.store import read_stored
from harness.sections import ReuseConfig
from harness.sweep.display import Progress
from harness.sweep.plan import prepare
from harness.sweep.train_runs import work

RUN = "all_on/seed=0"
NAMES = [arm.name for arm in leave_one_out(note())]
ARMS = [[f"fix/{name}={level}" for name, level in arm.as_dict.items()] for arm in leave_one_out(note())]
SMALL = [
    *("env.tasks=31", "train.val_tasks=2", "train.groups_per_step=1"),
    *("train.rollouts_per_group=5", "train.steps=2", "validation.every=2", "tracking=off", "backend.device=cpu"),
]


class Trainer(TrainerThread):
    async def close(self) -> None:
        pass


@pytest.fixture
def sweep(sweep_config, stand_in, tmp_path, monkeypatch):
    """sweep(name, arms, reuse=True): trains these of ARMS; the folder, and what RUN asked of the server."""
    from harness.backend import shared

    async def start_trainer(config, policy, log, note):
        order = shared.TrainerOrder(policy.path, policy.digest, shared.Lora(8, 16), shared.Optimiser())
        return Trainer(order)

    monkeypatch.setattr(shared, "start_trainer", start_trainer)
    for name, value in stand_in.items():
        monkeypatch.setenv(name, value)

    config = sweep_config(*SMALL, runs=ARMS)

    def train(name, arms, reuse=True):
        asked = tmp_path / f"{name}.jsonl"
        monkeypatch.setenv("FAKE_ASKED", str(asked))
        runs = tuple(config.runs[arm] for arm in arms)
        planned = prepare(replace(config, name=name, runs=runs, reuse=ReuseConfig(reuse)))

        async def batches():
            yield planned.config.runs

        with Progress(total_runs=len(arms), total_steps=2 * len(arms)) as progress:
            asyncio.run(work(planned, batches(), progress, Counter(), planned.folder / "logs"))
        bodies = [json.loads(line) for line in asked.read_text().splitlines()]
        own = [body for body in bodies if body["model"].startswith("all_on-seed0@")]
        return SimpleNamespace(
            folder=planned.folder,
            asked=Counter(json.dumps(body, sort_keys=True) for body in own),
            others=len(bodies) - len(own),
        )

    return train


def results(folder):
    """The run's lines, but for times and for who computed what."""
    lines = SweepFiles(folder).content(RUN)
    left_out = {*NOT_RESULTS, "episodes", "update_shared_with"}
    return {
        name: [{k: v for k, v in line.items() if k not in left_out} for line in getattr(lines, name)]
        for name in ("steps", "validation", "checks")
    }


def adapters(folder):
    """The run's adapter at each step, as bytes."""
    found = sorted(folder.glob("art/**/all_on-seed0/**/adapter_model.safetensors"))
    return [path.read_bytes() for path in found]


def stored(folder, kind):
    return {path.name: read_stored(folder / "store", kind, path.name) for path in folder.glob(f"store/{kind}/*/*")}


def test_a_run_asks_computes_and_records_the_same_alone_and_beside_seven_others(sweep):
    alone = sweep("alone", [0])
    assert alone.others == 0 and len({*adapters(alone.folder)}) > 1  # it did learn

    anew = sweep("anew", range(len(ARMS)), reuse=False)  # what another one has computed is asked again
    assert len(ARMS) == 8 and anew.others > 5 * anew.asked.total()
    assert anew.asked == alone.asked

    sharing = sweep("sharing", [NAMES.index(name) for name in ("without_split", "without_reward", "all_on")])
    assert sharing.asked.total() < alone.asked.total()
    for beside in (anew, sharing):
        assert results(beside.folder) == results(alone.folder)
        assert adapters(beside.folder) == adapters(alone.folder)

    updates, shared = stored(alone.folder, "updates"), stored(sharing.folder, "updates")
    assert updates and {key: shared.get(key) for key in updates} == updates
    episodes, shared = stored(alone.folder, "episodes"), stored(sharing.folder, "episodes")
    assert episodes and all(key in shared and same_rollout(value, shared[key]) for key, value in episodes.items())
