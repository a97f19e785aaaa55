"""`harness policy list`, `harness policy fetch NAME`, and `harness policy fetch OWNER/MODEL` for policy.hub."""

from argparse import Namespace
from pathlib import Path

from harness.errors import ConfigError
from harness.machine.environments import progress
from harness.policy import BUNDLED, HUB_NAMES, POLICIES, bundled, hub, smollm2, unknown_policy

WARM_START = "python -m experiments.warm_starts.retail --out FOLDER"


def run(asked: Namespace) -> int:
    if asked.action == "list":
        print("\n".join(lines()))
    else:
        fetch(asked.name, asked.source)
    return 0


def lines() -> list[str]:
    """A line for each policy: its name, whether it is here, and where or how to get it. Reads no weights."""
    wide = max(map(len, POLICIES))
    return [
        f"{name:{wide}}  here      {folder(name)}"
        if folder(name).is_dir()
        else f"{name:{wide}}  not here  {how_to_get(name)}"
        for name in POLICIES
    ]


def folder(name: str) -> Path:
    """Where a policy lies, or would."""
    if name in HUB_NAMES:
        return hub.checkpoint(name)
    if name in BUNDLED:
        return bundled(name)
    return {"smollm2_135m": smollm2.warm_checkpoint(), "smollm2_135m_raw": smollm2.checkpoint()}[name]


def how_to_get(name: str) -> str:
    if name == "smollm2_135m":
        return f"harness policy fetch smollm2_135m_raw, then on a GPU in a clone: {WARM_START}"
    return f"harness policy fetch {name}"


def fetch(name: str, source: Path | None) -> None:
    """Makes a policy ready. Raises ConfigError for one that is not fetched, SetupError if it cannot be had."""
    if name.count("/") == 1 and source is None:
        print(f"{hub.fetch(hub.any_model(name), progress(name))} is ready: policy.hub={name}")
        return
    if name not in POLICIES:
        raise ConfigError(unknown_policy(name))
    if name in BUNDLED:
        raise ConfigError(f"{name} is part of the harness, in {folder(name)}: nothing is to be fetched.")
    if name == "smollm2_135m":
        raise ConfigError(f"smollm2_135m is smollm2_135m_raw after a warm start, which is trained: {how_to_get(name)}")
    if name == "smollm2_135m_raw":
        smollm2.make(progress(name), source)
    elif source is None:
        hub.make(name, progress(name))
    else:
        raise ConfigError(f"--from is for smollm2_135m_raw. {name} comes from the Hugging Face hub or its cache.")
