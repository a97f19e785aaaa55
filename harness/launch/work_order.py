"""What an engine in another process is told: which sweep, which runs, and how it knows the sweep's folder."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from harness.config import typed
from harness.errors import ConfigError
from harness.records.json_files import read_object
from harness.records.layout import SweepFiles

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.sweep.plan import Sweep

PATIENCE = 10.0  # seconds that a network file system may take to show a new file


@dataclass(frozen=True)
class WorkOrder:
    """folder: the sweep's, on a path that every machine of the sweep sees

    manifest: digest of what stays in its manifest.json, so that an engine knows the folder when it sees it
    factors: names of what the sweep compares
    config: what the sweep's runs share; runs: the fixes, the seed and what its block has otherwise, of each to do
    server_python: HARNESS_VLLM_PYTHON where the order was made
    source: how the manifest calls the source of the start
    """

    name: str
    folder: str
    manifest: str
    factors: tuple[str, ...]
    config: dict[str, Any]
    runs: tuple[dict[str, Any], ...]
    server_python: str | None
    source: str | None = None

    @classmethod
    def of(cls, sweep: "Sweep", runs: Sequence["RunConfig"]) -> "WorkOrder":
        folder = sweep.folder.resolve()
        return cls(
            sweep.name,
            str(folder),
            digest_of_manifest(SweepFiles(folder).manifest_path),
            sweep.config.factors.names,
            dict(sweep.config.shared),
            tuple(_of_run(sweep.config.resolved(config), sweep.config.shared) for config in runs),
            os.environ.get("HARNESS_VLLM_PYTHON"),
            sweep.source_name,
        )

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "WorkOrder":
        data = json.loads(text)
        return cls(**data | {"runs": tuple(data["runs"])})

    def check_shared(self) -> Path:
        """The sweep's folder, as seen here. Raises ConfigError when it is not the one that the order was made with."""
        folder = Path(self.folder)
        manifest = SweepFiles(folder).manifest_path
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if manifest.exists() and digest_of_manifest(manifest) == self.manifest:
                return folder
            time.sleep(0.2)
        raise ConfigError(
            f"{platform.node()} does not see the sweep's folder {folder} as the machine does that started the sweep: "
            "its manifest.json is missing or another one. Results must lie on a path that all machines share: "
            "results=/a/shared/path."
        )

    def load(self) -> "Sweep":
        """The sweep, for an engine of this process. Raises ConfigError where this machine differs."""
        from harness.sweep.plan import join

        folder = self.check_shared()
        ours = {"results": str(folder.parent), "sweep": self.name, "plan_only": False, "factors": list(self.factors)}
        config = typed(*(OmegaConf.create({**self.config, **run, **ours}) for run in self.runs))
        return join(config, self.source)


def _of_run(resolved: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resolved.items() if key not in shared or shared[key] != value}


ADDED = ("looks", "seeds_planned", "starts", "source", "sources")  # by a report or another start, while engines start


def digest_of_manifest(path: Path) -> str:
    """Of all that stays as it is."""
    fixed = {key: value for key, value in read_object(path).items() if key not in ADDED}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
