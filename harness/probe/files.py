"""Rollouts from files: as ART, verifiers and TRL write them, as this project does, and plain chat as JSON lines.

What a file is shows from the names of its fields. Its rows become the dictionaries that `objects.py` takes.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

Row = Mapping[str, Any]
PARQUET = b"PAR1"
KNOWN = (
    "ART's trajectories (parquet, JSON or JSON lines), verifiers' results.jsonl and traces.jsonl, TRL's "
    "completions_*.parquet, and JSON lines with `messages`, or `prompt` and `completion`"
)
OF_TRL = ("step", "advantage", "prompt", "completion")


def read(path: Path) -> tuple[str, list[Any]]:
    """What the file is, and what `material_of` takes. Raises ConfigError."""
    rows = rows_of(path)
    if not rows:
        raise ConfigError(f"{path} holds no rollout.")
    for name, fits, made in FORMATS:
        if fits(rows[0]):
            return name, [each for row in rows for each in made(row)]
    keys = ", ".join(sorted(map(str, rows[0]))) if isinstance(rows[0], Mapping) else type(rows[0]).__name__
    raise ConfigError(f"{path} holds no rollouts that are known here; its first row has {keys}. Known are {KNOWN}.")


def rows_of(path: Path) -> list[Any]:
    """The rows of a parquet, JSON or JSON lines file. Raises ConfigError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    if raw.startswith(PARQUET):
        return _parquet(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is neither parquet nor JSON in UTF-8: byte {error.start} is no text.") from None
    try:
        whole = json.loads(text)
    except ValueError:
        return list(_lines(path, text))
    return whole if isinstance(whole, list) else [whole]


def _lines(path: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{path}, line {number} is no JSON: {error}.") from None


def _parquet(path: Path) -> list[Any]:
    from pyarrow import ArrowInvalid, parquet

    try:
        return list(parquet.read_table(path).to_pylist())
    except ArrowInvalid as error:
        raise ConfigError(f"{path} is a damaged parquet file: {error}.") from None


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda row: isinstance(row, Mapping) and all(name in row for name in names)


def _as_it_is(row: Any) -> Iterator[Any]:
    yield row


def _of_art(row: Row) -> Iterator[Row]:
    """A row of ART's parquet; metrics and metadata are JSON text, and the group's stand beside them. It keeps tools,
    and no log-probs."""
    metadata = {**json.loads(row.get("group_metadata") or "{}"), **json.loads(row.get("metadata") or "{}")}
    yield {**row, "metadata": metadata, "metrics": json.loads(row.get("metrics") or "{}")}


def _of_verifiers(row: Row) -> Iterator[Row]:
    """A row of results.jsonl. `task` names the environment there."""
    yield {name: value for name, value in row.items() if name != "task"}


def _of_trl(row: Row) -> Iterator[Row]:
    """A row of completions_*.parquet: the rewards of all functions, added up as with weights of 1."""
    numbers = {n: v for n, v in row.items() if n not in OF_TRL and isinstance(v, int | float)}
    rewards = {n: v for n, v in numbers.items() if "reward" in n} or numbers
    yield {name: row[name] for name in OF_TRL} | {"reward": sum(rewards.values()) if rewards else None}


def _of_traces(row: Row) -> Iterator[Row]:
    """The branches of an episode of verifiers' traces.jsonl, each trained as it stands. Of an agent that is not trained
    there are none; a trace that raised before anything was said is a row without messages."""
    work = (row.get("run") or {}).get("work") or {}
    of_episode = {
        "group": (row.get("group") or {}).get("id"),
        "step": work.get("step"),
        "split": "validation" if work.get("type") == "eval" else "train",
    }
    for trace in row["traces"]:
        if (trace.get("agent") or {}).get("trainable") is False:
            continue
        data = (trace.get("task") or {}).get("data") or {}
        rewards = [r for r in (trace.get("rewards") or {}).values() if r is not None]
        of_trace = {
            "reward": sum(r["score"] * r.get("weight", 1.0) for r in rewards) if rewards else None,
            "task_id": data.get("idx") if data.get("id") is None else data["id"],
            "end": trace.get("stop_condition"),
            "error": trace.get("errors") or None,
            "tools": trace.get("tools"),
        }
        nodes = trace.get("nodes") or []
        calls = {call.get("node"): call for call in trace.get("calls") or ()}
        parents = {node.get("parent") for node in nodes}
        leaves = [n for n in range(len(nodes)) if n not in parents]
        for branch in [_branch(nodes, leaf) for leaf in leaves] or [[]]:
            yield of_episode | of_trace | _said([nodes[n] for n in branch], [calls.get(n) or {} for n in branch])


def _said(nodes: list[Row], calls: list[Row]) -> dict[str, Any]:
    """A branch: its messages, its turns, what of it is trained."""
    advantages = [a for node in nodes for a in node.get("advantages") or ()]
    return {
        "messages": [node["message"] | {"trainable": node.get("sampled", False)} for node in nodes],
        "turns": list(_turns(nodes, calls)),
        **({"tools": nodes[0]["tools"]} if nodes and nodes[0].get("tools") else {}),
        **({"advantage": advantages[0]} if advantages else {}),
        **_trained(nodes),
    }


def _branch(nodes: list[Row], leaf: int) -> list[int]:
    """From the root to a leaf."""
    parent = nodes[leaf].get("parent")
    return [leaf] if parent is None else [*_branch(nodes, parent), leaf]


def _turns(nodes: list[Row], calls: list[Row]) -> Iterator[Row]:
    before: list[int] = []
    for node, call in zip(nodes, calls, strict=True):
        ids, mask = node.get("token_ids") or [], node.get("mask") or []
        first = next((place for place, sampled in enumerate(mask) if sampled), len(ids))
        if node.get("sampled"):
            yield {
                "prompt_ids": [*before, *ids[:first]] if ids else None,
                "output_ids": ids[first:] if ids else None,
                "logprobs": node.get("logprobs") or None,
                "adapter_logprobs": node.get("trainer_logprobs"),
                "finish_reason": call.get("finish_reason"),
                "model": call.get("model"),
                "temperature": (call.get("sampling") or {}).get("temperature"),
            }
        before += ids


def _trained(nodes: list[Row]) -> Row:
    ids = [i for node in nodes for i in node.get("token_ids") or ()]
    mask = [m for node in nodes for m in node.get("mask") or ()]
    return {"trained_ids": ids, "trained_mask": mask} if ids and len(ids) == len(mask) else {}


FORMATS: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], Iterator[Any]]], ...] = (
    ("groups of chat", lambda row: isinstance(row, list) and bool(row) and _has("messages")(row[0]), _as_it_is),
    ("ART's groups", _has("trajectories"), _as_it_is),
    ("verifiers' traces", _has("traces"), _of_traces),
    ("ART's parquet", _has("group_index", "messages"), _of_art),
    ("ART's trajectories", _has("messages_and_choices"), _as_it_is),
    ("this project's rollouts", _has("rollout", "raw_reward", "messages"), _as_it_is),
    ("TRL's completions", _has(*OF_TRL), _of_trl),
    ("verifiers' results", _has("example_id", "prompt", "completion"), _of_verifiers),
    ("chat", _has("messages"), _as_it_is),
    ("prompts and completions", _has("prompt", "completion"), _as_it_is),
)
