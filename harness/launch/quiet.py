"""What every process of the harness sets before it imports litellm, tqdm, transformers or wandb."""

import os


def quiet() -> None:
    """No look-ups in the network, no bars or banners of others. What the user has set stays."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own reports to Sentry
    if "WANDB_API_KEY" not in os.environ:
        os.environ.setdefault("WANDB_SILENT", "true")  # offline there is no address to print
