"""What a command prints with `--json`, for programs (docs/records.md has every key). Standard library only."""

import json
import math
from collections.abc import Mapping
from typing import Any

PRINTED = 1  # version of the JSON that commands print; docs/records.md has its history


def printed(data: Mapping[str, Any], indent: int | None = 1) -> str:
    """One JSON object; the same text for the same data. indent: None for a single line"""
    said = json.dumps(plain({"schema": PRINTED, **data}), indent=indent, ensure_ascii=False, allow_nan=False)
    return said.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair stays the escape that it was


def plain(value: Any) -> Any:
    """JSON's own types: NaN and infinity become None, numpy scalars and tuples their plain twins."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
