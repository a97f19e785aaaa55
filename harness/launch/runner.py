"""One run on the shared engine: its ART model and its loop."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import art
import litellm
from transformers import AutoTokenizer

from harness.backend.context import Contexts
from harness.backend.shared import Engine, SharedBackend
from harness.config import RunConfig
from harness.engine.server import Server
from harness.engine.trainer import Lora, Optimiser, Trainer
from harness.episode import same_rollout
from harness.launch.progress import Progress
from harness.loop import run_loop
from harness.records import RunRecords
from harness.rollout import Rollouts, Sampling
from harness.seams import Check
from harness.store import Store
from harness.validation import Ruler

if TYPE_CHECKING:
    from harness.launch.sweep import Sweep


class Model(art.TrainableModel):
    """ART's model without a W&B run of its own: our tracking writes one per run, as a view of the records."""

    def _get_wandb_run(self) -> None:
        return None


@dataclass
class Runner:
    sweep: "Sweep"
    store: Store
    backend: SharedBackend
    rollouts: Rollouts
    contexts: Contexts
    ruler: Ruler

    @classmethod
    def build(cls, sweep: "Sweep", config: RunConfig, server: Server, counts: Counter[str]) -> "Runner":
        """The engine's parts in this process; takes some seconds (the base model loads).

        counts: where the store counts what was asked, computed and shared
        """
        litellm.suppress_debug_info = True
        policy = sweep.policy
        store = Store(
            sweep.folder / "store",
            config.reuse.enabled,
            config.reuse.audit,
            same={"episodes": same_rollout},
            counts=counts,
        )
        trainer = Trainer(
            policy.path,
            policy.digest,
            Lora(config.policy.lora_rank, config.policy.lora_alpha),
            Optimiser(groups_per_step=config.train.groups_per_gradient_step),
            device="cuda" if config.backend.on_gpu else "cpu",
            threads=config.backend.threads,
        )
        backend = SharedBackend(Engine(server, trainer, store, policy.name), sweep.folder / "art")
        rollouts = Rollouts(
            sweep.domain,
            policy.digest,
            store,
            endpoint=backend.endpoint,
            serve=backend.serve,
            weights=backend.weights,
            alive=server.assert_alive,
            in_flight=config.backend.requests,
        )
        sampling = Sampling(config.validation.temperature, config.rollout.max_tokens, config.rollout.max_turns)
        contexts = Contexts(AutoTokenizer.from_pretrained(policy.path), backend.tool_schema_format)
        return cls(sweep, store, backend, rollouts, contexts, Ruler(sweep.reference_ids, sampling))

    async def run(self, config: RunConfig, records: RunRecords, progress: Progress) -> list[Check]:
        """Trains one run. Raises what its loop raises; the records keep what was done."""
        run = config.run
        model = Model(
            name=f"{run.arm.name}-seed{run.seed}",
            project=self.sweep.name,
            base_model=str(self.sweep.policy.path),
            report_metrics=[],
        )
        await self.backend.admit(model, run.name, run.seed)
        return await run_loop(
            config,
            model,
            self.backend,
            self.rollouts,
            self.contexts,
            self.ruler,
            records,
            lambda step, reward: progress.step(run.name, step, reward),
        )
