"""Copy-on-write databases.

A tau2 database is a pydantic model whose fields are dicts of entities. Copying and hashing all of it costs
50-200 ms for retail and airline, though an episode touches a handful of entities. An overlay shares the base
database's entities and copies one the first time it is looked up by key, the only way in which tau2's tools reach
what they change (`tests/env` shows that the base stays as it was, and that verdicts equal the official ones).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Changes = dict[str, str]  # "field/key" -> the entity's canonical JSON; only what differs from the base


class Overlay(dict[str, Any]):
    """A dict of entities that owns a copy of each one looked up or set. Iteration shows shared entities, to read."""

    def __init__(self, base: dict[str, Any]) -> None:
        super().__init__(base)
        self.touched: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if key not in self.touched:
            value = copy.deepcopy(value)
            self[key] = value
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.touched.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.touched.add(key)
        super().__delitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  dict.get would pass by the copy

    def pop(self, key: str, *default: Any) -> Any:
        self.touched.add(key)
        return super().pop(key, *default)


def _entity_fields(database: BaseModel) -> Iterator[tuple[str, Any]]:
    for field in type(database).model_fields:
        yield field, getattr(database, field)


def overlay(base: BaseModel) -> BaseModel:
    """A database of the same type that can be changed without changing `base`. Takes microseconds."""
    fields: dict[str, Any] = {field: Overlay(entities) for field, entities in _entity_fields(base)}
    return type(base).model_construct(**fields)


def _canonical(entity: Any) -> str:
    # The canonical form behind tau2's own database hash, entity by entity.
    dumped = entity.model_dump() if isinstance(entity, BaseModel) else entity
    return json.dumps(dumped, sort_keys=True, default=str)


def changes(database: BaseModel, base: BaseModel) -> Changes:
    """What differs between an overlay and its base. Two overlays of one base have equal tau2 hashes iff these agree."""
    found: Changes = {}
    for field, entities in _entity_fields(database):
        before = getattr(base, field)
        for key in entities.touched:
            now = _canonical(dict.__getitem__(entities, key)) if key in entities else "deleted"
            then = _canonical(before[key]) if key in before else "deleted"
            if now != then:
                found[f"{field}/{key}"] = now
    return found
