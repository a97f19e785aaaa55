"""One run on a backend: its ART model and its loop."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import art
import litellm

from harness.backend import Backend
from harness.backend.context import Contexts
from harness.config import RunConfig
from harness.episode_player import Plays
from harness.loop import run_loop
from harness.records.run_records import RunRecords
from harness.records.store import Store
from harness.rollout import Rollouts, Sampling
from harness.seams import Check, Rendering
from harness.sweep.display import Progress
from harness.users import attached
from harness.validation import ReferenceProtocol

if TYPE_CHECKING:
    from harness.sweep.plan import Sweep


class Model(art.TrainableModel):  # type: ignore[type-arg]
    """ART's model without a W&B run of its own: our tracking writes one per run, as a view of the records."""

    def _get_wandb_run(self) -> None:
        return None


@dataclass
class Runner:
    sweep: "Sweep"
    backend: Backend
    rollouts: Rollouts
    contexts: Contexts
    protocol: ReferenceProtocol

    @classmethod
    def build(cls, sweep: "Sweep", backend: Backend, store: Store, player: Plays | None) -> "Runner":
        """What all runs on a backend share in this process. player: plays the episodes, None: this process does."""
        litellm.suppress_debug_info = True
        policy, config = sweep.policy, sweep.config
        rollouts = Rollouts(
            sweep.domain if player else attached(sweep.domain, config.user, store.path, store.reuse),
            policy.digest,
            store,
            endpoint=backend.endpoint,
            serve=backend.serve,
            weights=backend.weights,
            alive=backend.assert_alive,
            in_flight=config.backend.requests,
            exact=policy.dtype == "float32",
            player=player,
            user=sweep.user,
            batch_invariant=config.backend.batch_invariant,
        )
        sizes = config.rollout
        sampling = Sampling(config.validation.temperature, sizes.max_tokens, sizes.max_turns, sizes.max_prompt_tokens)
        contexts = Contexts(str(policy.path), sweep.domain.tools)
        asked = config.validation
        protocol = ReferenceProtocol(
            sweep.reference_ids, sampling, asked.samples, asked.sample_temperature, sweep.also, asked.also_every
        )
        return cls(sweep, backend, rollouts, contexts, protocol)

    async def run(self, config: RunConfig, records: RunRecords, progress: Progress) -> tuple[list[Check], float]:
        """Trains one run: its checks, and how far the base's answers have moved (nats). Raises what its loop raises;
        the records keep what was done."""
        run = config.run
        model = Model(  # type: ignore[call-arg]  # ART's own __init__ needs no config
            name=run.model,
            project=self.sweep.name,
            base_model=str(self.sweep.policy.path),
            report_metrics=[],
        )
        try:
            await self.backend.admit(model, run.name, run.seed, config.seams.context(Rendering()))
            checks = await run_loop(
                config,
                model,
                self.backend,
                self.rollouts,
                self.contexts,
                self.protocol,
                records,
                lambda step, reward: progress.step(run.name, step, reward),
            )
            # before the run is called completed: nobody's adapter in the base's answers
            return checks, await self.backend.check_base()
        finally:
            await self.backend.release(model)
