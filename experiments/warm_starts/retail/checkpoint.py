"""The warm-started checkpoint: the base with an adapter merged in. Needs no GPU."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from experiments.warm_starts.retail import low_rank
from harness.errors import ConfigError


def weights_digest(folder: Path) -> str:
    """Of a checkpoint's weights, whatever file layout holds them."""
    import torch
    from safetensors.torch import load_file

    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        raw = tensor.contiguous().view(torch.uint8).numpy()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode() + raw.tobytes())
    return digest.hexdigest()[:16]


def apply(base: Path, adapter: Path, out: Path) -> None:
    """Writes the checkpoint to `out`, in the place of one that is there.

    Raises ConfigError for an adapter that is not whole or was trained on another base.
    """
    from safetensors.torch import load_file, save_file

    change, manifest = low_rank.load(adapter)
    found = weights_digest(base)
    if manifest.base != found:
        raise ConfigError(f"{adapter} was trained on base {manifest.base}; the weights in {base} are {found}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "made"
        shutil.copytree(base, made)
        weights = low_rank.merged(load_file(base / "model.safetensors"), change, manifest.scale)
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
        _change(made / "config.json", max_position_embeddings=manifest.context)
        _change(made / "tokenizer_config.json", model_max_length=manifest.context)
        shutil.copyfile(adapter / low_rank.MANIFEST, made / "warm_start.json")
        if out.exists():
            out.rename(Path(scratch) / "old")
        made.rename(out)


def _change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
