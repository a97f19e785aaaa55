"""`harness policy list`, `harness policy fetch NAME`, and `harness policy fetch OWNER/MODEL` for policy.hub."""

import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.machine.environments import progress
from harness.policy import BUNDLED, HUB_NAMES, POLICIES, bundled, hub, smollm2, unknown_policy
from harness.printed import printed

WARM_START = "python -m experiments.warm_starts.retail --out FOLDER"


def run(asked: Namespace) -> int:
    if asked.action == "list":
        print(printed({"policies": listed()}) if asked.json else "\n".join(lines()))
        return 0
    with redirect_stdout(sys.stderr if asked.json else sys.stdout):
        here = fetch(asked.name, asked.source)
    if asked.json:
        print(printed({"policy": asked.name, "folder": str(here)}))
    return 0


def lines() -> list[str]:
    """A line for each policy: its name, whether it is here, and where or how to get it."""
    wide = max(map(len, POLICIES))
    return [
        f"{each['name']:{wide}}  here      {each['folder']}"
        if each["here"]
        else f"{each['name']:{wide}}  not here  {each['how_to_get']}"
        for each in listed()
    ]


def listed() -> list[dict[str, Any]]:
    """folder: where it lies, or would. Reads no weights."""
    return [
        {
            "name": name,
            "here": folder(name).is_dir(),
            "folder": str(folder(name)),
            "how_to_get": None if folder(name).is_dir() else how_to_get(name),
        }
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


def fetch(name: str, source: Path | None) -> Path:
    """Makes a policy ready; its folder. Raises ConfigError for one that is not fetched, SetupError for one that cannot
    be had."""
    if name.count("/") == 1 and source is None:
        here = hub.fetch(hub.any_model(name), progress(name))
        print(f"{here} is ready: policy.hub={name}")
        return here
    if name not in POLICIES:
        raise ConfigError(unknown_policy(name))
    if name in BUNDLED:
        raise ConfigError(f"{name} is part of the harness, in {folder(name)}: nothing is to be fetched.")
    if name == "smollm2_135m":
        raise ConfigError(f"smollm2_135m is smollm2_135m_raw after a warm start, which is trained: {how_to_get(name)}")
    if name == "smollm2_135m_raw":
        return smollm2.make(progress(name), source)
    if source is not None:
        raise ConfigError(f"--from is for smollm2_135m_raw. {name} comes from the Hugging Face hub or its cache.")
    return hub.make(name, progress(name))
