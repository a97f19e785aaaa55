"""What every process of the harness sets before it imports litellm, tqdm, transformers or wandb."""

import os

from harness.machine.processes import begin_loading

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def quiet() -> None:
    """No look-ups in the network, no bars or banners of others, no proxy between processes of this machine, and little
    for the garbage collector to do. What the user has set stays."""
    begin_loading()
    unproxied = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # the order in which clients look
    if unproxied.strip() != "*":
        named = [name for name in map(str.strip, unproxied.split(",")) if name]
        unproxied = ",".join([*named, *(name for name in LOOPBACK if name not in named)])
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = unproxied
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own reports to Sentry
    if "WANDB_API_KEY" not in os.environ:
        os.environ.setdefault("WANDB_SILENT", "true")  # offline there is no address to print
