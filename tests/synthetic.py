"""Sweep folders with made-up records, in the schema that the harness writes."""

import itertools
import json
import math
from pathlib import Path

import numpy as np

from harness.fixes.registry import note

FACTORS, GATES = note().names, note().gates
TASKS = [f"task-{i:02d}" for i in range(30)]


def arm_name(levels):
    if further := [f"{f}={v}" for f, v in levels.items() if v not in ("on", "off")]:
        plain = {f: v if v in ("on", "off") else "on" for f, v in levels.items()}
        return f"{arm_name(plain)}_with_{'_'.join(further)}"
    on = [f for f in FACTORS if levels[f] == "on"]
    off = [f for f in FACTORS if levels[f] == "off"]
    if not off:
        return "all_on"
    if not on:
        return "all_off"
    return "without_" + "_".join(off) if len(off) <= 2 else "only_" + "_".join(on)


def leave_one_out():
    everything = dict.fromkeys(FACTORS, "on")
    return [everything, *(everything | {f: "off"} for f in FACTORS), dict.fromkeys(FACTORS, "off")]


def factorial():
    return [dict(zip(FACTORS, levels, strict=True)) for levels in itertools.product(("on", "off"), repeat=len(FACTORS))]


def write_sweep(folder: Path, arms=None, seeds=(0,), steps=6, blocks=None, **manifest) -> Path:
    """A completed sweep. Arms behind a closed gate stay flat, and are shared with each other.

    blocks: learning rates by the name of their block; the rewards rise in proportion to them
    """
    arms = leave_one_out() if arms is None else arms
    folder.mkdir(parents=True)
    write_json(
        folder / "manifest.json",
        {
            "sweep": folder.name,
            "created": "2026-05-04T10:00:00+00:00",
            "command": "python -m harness +ablation=leave_one_out",
            "steps": steps,
            "versions": {"python": "3.11.7", "openpipe-art": "0.5.18", "vllm": "0.20.2"},
            "git": {"commit": "f78796e", "dirty": False},
            "machine": {"cpu": "2 cores", "gpu": None},
            "train_ids": [f"task-{i}" for i in range(30, 60)],
            "reference_ids": TASKS,
            "factors": [factor.record() for factor in note()],
        }
        | (block_manifest(blocks) if blocks else {})
        | manifest,
    )
    plan = [
        {"run": run_name(arm_name(a), s, b), "arm": arm_name(a), "levels": a, "seed": s} | ({"block": b} if b else {})
        for a in arms
        for b in blocks or ("",)
        for s in seeds
    ]
    write_jsonl(folder / "plan.jsonl", plan)
    for line in plan:
        block = line.get("block", "")
        write_run(folder, line["arm"], line["levels"], line["seed"], steps, block, (blocks or {}).get(block, 1.0))
    return folder


def block_manifest(blocks):
    said = {b: {"train.learning_rate": rate} for b, rate in blocks.items()}
    nested = {b: {"train": {"learning_rate": rate}} for b, rate in blocks.items()}
    return {"blocks": {b: {"options": said[b], "config": nested[b]} for b in blocks}, "main_block": next(iter(blocks))}


def write_run(sweep, arm, levels, seed, steps, block="", learning_rate=1.0):
    folder = run_folder(sweep, arm, seed, block)
    folder.mkdir(parents=True)
    open_ = all(levels[g] == "on" for g in GATES)
    rate = learning_rate * 0.12 * open_ * (1.0 - 0.45 * (levels["tools"] == "off") - 0.3 * (levels["reward"] == "off"))
    luck = np.random.default_rng([seed, round(rate * 1000)])
    rows, validations, checks = [], [], []
    for step in range(steps + 1):
        mean = 0.17 + 0.7 * (1 - math.exp(-rate * step)) + (0.03 * luck.normal() if rate and step else 0)
        solved = round(float(np.clip(mean, 0, 1)) * len(TASKS))
        by_task = {t: float(i < solved) for i, t in enumerate(TASKS)}
        reported = solved / len(TASKS) if levels["endpoint"] == "on" else 5 / 30
        if levels["split"] == "off":
            reported *= 30 / 85
        validations.append(
            {
                "step": step,
                "reference": {"mean": solved / len(TASKS), "by_task": by_task, "missing": 0},
                "reported": {
                    "mean": reported,
                    "n": 85 if levels["split"] == "off" else 30,
                    "by_task": {},
                    "nonexistent": 55 if levels["split"] == "off" else 0,
                },
                "seconds": 3.2,
            }
        )
        if step == 0:
            continue
        trains = levels["logprobs"] == "on" and levels["exploration"] == "on"
        rows.append(
            {
                "step": step,
                "reward": mean,
                "raw_reward": mean * 0.8,
                "groups": 6,
                "groups_with_spread": 4 if levels["exploration"] == "on" else 0,
                "rollouts": 36,
                "missing": 0,
                "trainable_tokens": 4100 if trains else 0,
                "gradient_steps": 3 if trains else 0,
                "advanced_without_training": not trains,
                "probs_corr": 0.998 if trains else None,
                "logprob_gap": 0.01 if trains else None,
                "loss": -0.02 if trains else None,
                "entropy": 1.1 if trains else None,
                "grad_norm": 0.3 if trains else None,
                "seconds": {"rollout": 11.0, "train": 4.0},
                "episodes": {"asked": 36, "computed": 36 if open_ else 6, "shared": 0 if open_ else 30},
                "update": f"{rate:.4f}-{seed}-{step}" if trains else None,  # names the weights, as a digest does
                "update_shared_with": None if open_ else "all_off/seed=0",
            }
        )
        checks += [
            {
                "step": step,
                "factor": f,
                "level": levels[f],
                "reading": {"share": 1.0 if levels[f] == "on" else 0.0},
                "took_effect": True,
                "text": f"{f} is {levels[f]}: share {1.0 if levels[f] == 'on' else 0.0}",
            }
            for f in FACTORS
        ]
    write_jsonl(folder / "steps.jsonl", rows)
    write_jsonl(folder / "validation.jsonl", validations)
    write_jsonl(folder / "checks.jsonl", checks)
    write_status(sweep, arm, seed, block)
    (folder / "config.yaml").write_text(f"arm: {arm}\nseed: {seed}\ntrain:\n  steps: {steps}\n")


def run_name(arm, seed=0, block=""):
    return "/".join(filter(None, (arm, block, f"seed={seed}")))


def run_folder(sweep, arm, seed=0, block=""):
    return sweep / "runs" / run_name(arm, seed, block)


def write_status(sweep, arm, seed=0, block="", **changes):
    status = {
        "run": run_name(arm, seed, block),
        "state": "completed",
        "validity": "valid",
        "invalid": [],
        "findings": [],
        "error": None,
        "seconds": 120.0,
    }
    write_json(run_folder(sweep, arm, seed, block) / "status.json", status | changes)


def make_invalid(sweep, arm, factor, reading, seed=0):
    write_status(sweep, arm, seed, validity="INVALID", invalid=[{"factor": factor, "reading": reading}])


def unshown(sweep, arm, factor, seed=0):
    """No step of the run could judge the factor's switch."""
    path = run_folder(sweep, arm, seed) / "checks.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [line | {"took_effect": None} if line["factor"] == factor else line for line in lines])


def write_json(path, value):
    path.write_text(json.dumps(value))


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def rollout(
    run,
    served=(1, 2),
    trained=(1, 2),
    task="task-30",
    step=0,
    number=0,
    by="base",
    texts=None,
    kind="training",
    **outcome,
):
    """A line of the sample, with one reply: the last id of `served`."""
    kept = {
        "reward": 0.0,
        "actions_matched": 1,
        "actions_total": 2,
        "facts_met": 0,
        "facts_total": 0,
        "db_match": False,
    }
    *prompt, last = served
    turn = {"prompt_ids": prompt, "output_ids": [last], "logprobs": [-0.1], "finish_reason": "stop", "answered_by": by}
    said = [
        {"role": "user", "content": "Please close task_63."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "name": "close_task", "arguments": '{"id": "task_63"}'}],
        },
    ]
    return {
        "run": run, "kind": kind, "step": step, "task": task, "rollout": number,
        "reward": 0.4, "raw_reward": 0.0, "end": "user_stop", "shared_with": None, "messages": said, "turns": [turn],
        "outcome": kept | outcome, "trained_ids": list(trained), "texts": texts or {},
    }  # fmt: skip


def keep_rollouts(folder, rollouts):
    write_jsonl(folder / "rollouts.jsonl", rollouts)
