"""The options of our Hydra launchers, strict: conf/hydra/launcher/<name>.yaml has the same names."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from omegaconf import OmegaConf
from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.strict import STRICT, Count, Positive, Section, Whole


@dataclass(frozen=True, config=STRICT)
class NodeOptions(Section):
    """None: `backend.engines` and `backend.engines_per_gpu` say it all."""

    option: ClassVar[str] = "hydra.launcher"


@dataclass(frozen=True, config=STRICT)
class RayOptions(Section):
    """address: of a running cluster, `auto` for the one that this machine belongs to, `local` for one of its own;
    None: RAY_ADDRESS, else a cluster of this machine, else one of its own
    cpus, gpus: that Ray sets aside for an engine; gpus None: one, divided by
    backend.engines_per_gpu, where the cluster has some, unless backend.device=cpu
    """

    option: ClassVar[str] = "hydra.launcher"

    address: str | None
    cpus: Positive
    gpus: Annotated[float, Field(ge=0, description="a number, 0 or more")] | None


@dataclass(frozen=True, config=STRICT)
class SlurmOptions(Section):
    """cluster: slurm, or local: jobs are processes of this machine, to try it out

    partition, minutes, gpus, cpus, memory_gb: of a job; gpus None: 1, or 0 with backend.device=cpu or cluster=local
    options: further sbatch options, e.g. {account: physics, constraint: h100}; setup: shell lines before the engine
    """

    option: ClassVar[str] = "hydra.launcher"

    cluster: Literal["slurm", "local"]
    partition: str | None
    minutes: Count
    gpus: Whole | None
    cpus: Count
    memory_gb: Positive | None
    options: dict[str, Any]
    setup: list[str]


LAUNCHERS: dict[str, type[Section]] = {"node": NodeOptions, "ray": RayOptions, "slurm": SlurmOptions}


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without OmegaConf's containers."""
    data = OmegaConf.to_container(OmegaConf.create(dict(options)), resolve=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items() if key != "_target_"}
