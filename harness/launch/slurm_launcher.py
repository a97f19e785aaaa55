"""hydra/launcher=slurm: a Slurm job per unit of the sweep, submitted and watched through submitit.

Slurm is the queue: a job holds one engine, trains one unit (the runs of a seed, or a part of them) and ends. A job
that is preempted or reaches its time limit is requeued by submitit and continues from the store. Jobs outlive the
process that submitted them; the same command watches them again instead of submitting them twice.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.config import RunConfig, SweepConfig
from harness.endings import run_stoppable
from harness.errors import ConfigError, EngineError, HarnessError
from harness.launch.engine_pool import RunNames
from harness.launch.engine_process import EngineProcess
from harness.launch.launcher import SweepLauncher
from harness.launch.options import SlurmOptions, plain
from harness.launch.several_engines import train_on
from harness.launch.work_order import WorkOrder
from harness.records.json_files import read_lines
from harness.sections import BackendConfig
from harness.sweep.cost import EngineCost
from harness.sweep.partition import partition
from harness.sweep.plan import Sweep

ASK_EVERY = {"slurm": 10.0, "local": 1.0}  # seconds between questions for a job's state
LIVE = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "COMPLETING")
UNKNOWN_FOR = 600.0  # seconds for which sacct may not know a new job


class SlurmLauncher(SweepLauncher):
    """Its options are those of `options.SlurmOptions`."""

    def __init__(self, **options: Any) -> None:
        wished = SlurmOptions(**plain(options))
        self.cluster, self.gpus = wished.cluster, wished.gpus
        self.wishes = {
            "timeout_min": wished.minutes,
            "cpus_per_task": wished.cpus,
            "mem_gb": wished.memory_gb,
            "slurm_partition": wished.partition,
            "slurm_additional_parameters": wished.options or None,
            "slurm_setup": wished.setup or None,
        }

    def train(self, sweep: Sweep, runs: Sequence[RunConfig]) -> None:
        jobs = Jobs(sweep.folder / "logs" / "slurm", self.cluster, self.parameters(sweep.name, sweep.config.backend))
        live = jobs.live([config.run.name for config in runs])
        if live:
            print(f"{len(live)} jobs of an earlier start go on; they are watched again", flush=True)
        held = {name for names in live for name in names}
        rest = [config.run for config in runs if config.run.name not in held]
        engines = sweep.config.backend.engines
        parts = partition(rest, engines or len({run.seed for run in rest}), sweep.config.factors) if rest else []
        names = [*live, *(tuple(run.name for run in part) for part in parts)]
        count = min(len(names), max(engines or len(names), len(live)))
        order = WorkOrder.of(sweep, runs)
        make = [partial(_SlurmEngine, order, number, jobs) for number in range(count)]
        run_stoppable(train_on(sweep, runs, names, make))

    def engines(self, config: SweepConfig) -> int:
        return config.backend.engines or len({each.run.seed for each in config.runs})

    def parameters(self, name: str, backend: BackendConfig) -> dict[str, Any]:
        """What submitit is told of a job."""
        if backend.port is not None:
            raise ConfigError("backend.port cannot be given with hydra/launcher=slurm: jobs may share a machine.")
        if backend.engines_per_gpu > 1:
            raise ConfigError("A Slurm job is one engine with GPUs of its own: leave backend.engines_per_gpu at 1.")
        gpus = self.gpus
        if gpus is None:
            gpus = int(backend.device != "cpu" and self.cluster == "slurm") * backend.gpus_per_engine
        wishes = {**self.wishes, "gpus_per_node": gpus or None, "name": f"harness-{name}", "tasks_per_node": 1}
        return {key: value for key, value in wishes.items() if value is not None}


class Jobs:
    """The jobs of one sweep, those of earlier starts included. folder: for submitit's files, on the shared path."""

    def __init__(self, folder: Path, cluster: str, parameters: dict[str, Any]) -> None:
        """Raises ConfigError without submitit, without sbatch, or for an option that submitit refuses."""
        try:
            import submitit
        except ImportError:
            raise ConfigError(
                "hydra/launcher=slurm needs submitit, which is not installed here: `pip install submitit` in the "
                "harness's environment. hydra/launcher=node needs nothing."
            ) from None
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError(
                "hydra/launcher=slurm found no `sbatch` here. Start the sweep on a login node of the cluster, or try "
                "it on this machine with hydra.launcher.cluster=local."
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.cluster = folder, cluster
        self._record = folder / "jobs.jsonl"
        self._known: dict[RunNames, Any] = {}
        self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        self._job_of: Callable[..., Any] = partial(submitit.SlurmJob, folder)
        try:
            self._executor.update_parameters(**parameters)
        except (TypeError, ValueError, NameError) as error:
            raise ConfigError(f"submitit refuses the options of hydra.launcher: {error}") from error

    def live(self, names: Sequence[str]) -> list[RunNames]:
        """The units of earlier jobs that go on, each cut to these names; the jobs are not submitted again."""
        if self.cluster == "slurm":
            for line in read_lines(self._record):
                wanted = tuple(name for name in line["runs"] if name in names)
                job = self._job_of(job_id=line["job"])
                if wanted and _is_live(job.state, time.time() - line["submitted"]):
                    self._known[wanted] = job
        return list(self._known)

    def submit(self, names: RunNames, work: Callable[[], Any]) -> Any:
        """The job that trains a unit: an earlier one that goes on, or a new one."""
        if names in self._known:
            return self._known.pop(names)
        job = self._executor.submit(work)
        with self._record.open("a") as file:
            file.write(json.dumps({"job": job.job_id, "runs": names, "submitted": time.time()}) + "\n")
        return job


def _is_live(state: str, age: float) -> bool:
    """age: seconds since the job was submitted; sacct reports `CANCELLED by 1000`, and knows a job after a while."""
    word = state.split()[0] if state else "UNKNOWN"
    return word in LIVE or (word == "UNKNOWN" and age < UNKNOWN_FOR)


class UnitJob:
    """What runs in a job; submitit pickles it, and again when the job is preempted or out of time."""

    def __init__(
        self, order: str, number: int, names: RunNames, engine: Callable[[int], EngineProcess] = EngineProcess
    ) -> None:
        self.order, self.number, self.names, self.engine = order, number, names, engine

    def __call__(self) -> EngineCost | HarnessError | None:
        """What it spent; an error of the harness is returned, since submitit keeps only the text of a raised one."""
        engine = self.engine(self.number)
        try:
            engine.start(WorkOrder.from_json(self.order))
            engine.train(self.names)
        except HarnessError as error:
            return error
        finally:
            spent = engine.stop()
        return spent

    def checkpoint(self) -> Any:
        """submitit's question before a requeue: what is to be submitted next. The same: the store has what is done."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class _SlurmEngine:
    """One job after another as the pool sees it. What they note stays in their logs."""

    def __init__(self, order: WorkOrder, number: int, jobs: Jobs) -> None:
        self.order, self.number, self.jobs = order, number, jobs
        self.spent: list[EngineCost] = []

    async def start(self, note: Callable[[str], None]) -> str:
        return "a job for each unit"

    async def train(self, names: RunNames) -> None:
        job = await asyncio.to_thread(self.jobs.submit, names, UnitJob(self.order.to_json(), self.number, names))
        try:
            while not await asyncio.to_thread(job.done):
                await asyncio.sleep(ASK_EVERY[self.jobs.cluster])
        except asyncio.CancelledError:
            if self.jobs.cluster == "local":
                job.cancel()
            else:
                print(f"Job {job.job_id} goes on in Slurm; `scancel {job.job_id}` ends it.")
            raise
        fault = await asyncio.to_thread(job.exception)
        if fault is not None:
            last = str(fault).strip().splitlines()[-1]
            raise EngineError(f"job {job.job_id} ended ({job.state}): {last} Its output is in {self.jobs.folder}.")
        result = await asyncio.to_thread(job.result)
        if isinstance(result, HarnessError):
            raise result
        if result is not None:
            self.spent.append(result)

    async def stop(self) -> EngineCost | None:
        return sum_of(self.spent) if self.spent else None


def sum_of(parts: Sequence[EngineCost]) -> EngineCost:
    """Of jobs that ran one after another."""
    kinds = {kind for part in parts for kind in part.counts}
    return EngineCost(
        {kind: sum(part.counts.get(kind, 0) for part in parts) for kind in kinds},
        sum(part.cpu for part in parts),
        max(part.peak_memory_gib for part in parts),
    )
