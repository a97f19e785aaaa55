"""Lines of the records as rows for W&B: pure functions. NaN and None are left out, bools are 0 or 1."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def train_row(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": record["step"]} | _prefixed("train", {k: v for k, v in record.items() if k != "step"})


def validation_row(record: Mapping[str, Any]) -> dict[str, Any]:
    reference, reported = record.get("reference") or {}, record.get("reported") or {}
    mean, shown = _number(reference.get("mean")), _number(reported.get("mean"))
    row = {
        "val/reward": mean,
        "val/missing": reference.get("missing"),
        "reported/reward": shown,
        "reported/n": reported.get("n"),
        "reported/nonexistent": reported.get("nonexistent"),
        "val_gap": None if mean is None or shown is None else shown - mean,
    }
    return {"step": record["step"]} | numbers_and_words(row)


def check_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: `check/<factor>/<reading>` and `check/<factor>/took_effect` as 0 or 1."""
    rows: dict[int, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(record["step"], {"step": record["step"]})
        reading = dict(record.get("reading") or {}) | {"took_effect": record.get("took_effect")}
        row |= _prefixed(f"check/{record['factor']}", reading)
    return [rows[step] for step in sorted(rows)]


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers only, one level of nesting flattened: {"seconds": {"train": 2}} -> <prefix>/seconds_train."""
    flat: dict[str, float | int] = {}
    for key, value in values.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for name, item in inner:
            if (number := _number(item)) is not None:
                flat[f"{prefix}/{key}_{name}" if name else f"{prefix}/{key}"] = number
    return flat


def _number(value: Any) -> float | int | None:
    """A finite number (a bool as 0 or 1); None for anything else: a NaN would spoil the whole chart."""
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def numbers_and_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without None and NaN."""
    return {k: v for k, v in row.items() if isinstance(v, str) or _number(v) is not None}
