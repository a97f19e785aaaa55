"""What a manifest keeps of a sweep's blocks, and whether the blocks of a command fit it.

    "blocks": {"learning_rate=0.002": {"options": {"train.learning_rate": 0.002}, "config": {"train": {…}}}, …}
    "main_block": "learning_rate=0.004"

config: what the block has otherwise than the manifest's `config`, which is the main block's. Blocks may be added later;
the main block stays what it was.
"""

from collections.abc import Mapping
from typing import Any

from harness.blocks import Block, apart, refuse_differences
from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.printed import plain
from harness.records.load import merged
from harness.records.schema import Record


def recorded(config: SweepConfig, main: Mapping[str, Any], of: Mapping[str, Mapping[str, Any]]) -> Record:
    """The keys of the manifest for the command's blocks; none for a sweep without.

    main: the manifest's config; of: that of each block, by name
    """
    if not config.blocks[0].options:
        return {}
    blocks = {b.name: {"options": b.as_dict, "config": apart(plain(of[b.name]), plain(main))} for b in config.blocks}
    return {"blocks": plain(blocks), "main_block": config.main_block}


def joined(manifest: Record, new: Record) -> Record:
    """A manifest with further blocks."""
    further = {name: block for name, block in new.get("blocks", {}).items() if name not in manifest["blocks"]}
    return manifest | ({"blocks": manifest["blocks"] | further} if further else {})


def unlike(manifest: Record, config: SweepConfig) -> list[str]:
    """Why the command's blocks are no blocks of this sweep: a line, or nothing."""
    there, now = _options(manifest), [name for name, _ in config.blocks[0].options]
    if there == now:
        return []
    hint = f" (of one block: {there[0]}=choice(VALUE))" if there and not now else ""
    return [f"blocks: {_of(there)} there, {_of(now)} now{hint}"]


def stored_config(manifest: Record, block: Block, now: Mapping[str, Any]) -> Record:
    """The configuration that a block has in the manifest; of a new block what the main one has, but for what it may
    have otherwise."""
    known = (manifest.get("blocks") or {}).get(block.name)
    config: Record = manifest["config"]
    if known or not block.options:
        return merged(config, known["config"]) if known else config
    try:
        refuse_differences(config, now)
    except ConfigError:
        return config
    sections = {option.partition(".")[0] for option, _ in block.options}
    of_group = {name: now[name] for name, _ in block.options if name in now}
    single = {
        section: {o.partition(".")[2]: v for o, v in block.options if o.startswith(f"{section}.")}
        for section in sections - set(of_group)
        if section in now
    }
    return merged(merged(config, of_group), single)


def _options(manifest: Record) -> list[str]:
    first: Record = next(iter((manifest.get("blocks") or {}).values()), {})
    return list(first.get("options") or {})


def _of(options: list[str]) -> str:
    return f"of {', '.join(options)}" if options else "none"
