"""Stock ART against the shared engine: the same arm, seed and settings on one GPU.

    python -m experiments.benchmarks.stock_vs_shared --out DIR                          # all parts, then the table
    python -m experiments.benchmarks.stock_vs_shared --out DIR --only stock --steps 2   # one part, in minutes
    python -m experiments.benchmarks.stock_vs_shared --out DIR --merge A/stock.json B/sweep_reuse.json …

Parts, each a `python -m harness` of its own whose records are read:

    stock         one run on backend=art_local
    shared        the same run on backend=shared, reuse=off
    shared_2, _4  two and four of them at once, seeds 0, 1, …; only when asked for with --only
    sweep         the runs of --ablation on backend=shared, interleaved, reuse=off
    sweep_reuse   the same with reuse=on

Writes <part>.json for each part, and stock_vs_shared.json and .md from all that are there. Seconds to start are what is
left of a program's wall-clock after the steps and validations of its first run: imports, engine, report, end. Several
runs at once are projected by the later steps of the slowest one, during which the others make theirs. A part that is
cut by --limit keeps the steps that it has made. Other arguments are Hydra's and go to every part (seed=0,1: several
runs of the stock part, one on each GPU); --stock-option goes to the stock part alone, in the place of the same option
for all (stock ART takes an optimiser step for each trajectory, so it may want another learning rate). Several files of
--merge that hold the same part count as programs side by side, each with its GPUs. Where two parts have runs of the
same arm and seeds, the difference of their reference rewards comes with an interval over seeds and tasks.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from experiments.benchmarks.overrides import replaced
from harness.machine.gpu import gpus
from harness.records.load import load_sweep
from harness.stats.intervals import crossed_spread

AT_ONCE = {"shared_2": 2, "shared_4": 4}  # runs
PARTS = ("stock", "shared", *AT_ONCE, "sweep", "sweep_reuse")
BY_DEFAULT = ("stock", "shared", "sweep", "sweep_reuse")
SINGLE = ("stock", "shared")
COMPARED = "all_on"  # the arm of a sweep whose curve is set beside that of the single runs
END_SECONDS = 90.0  # for a program that was asked to stop


def command(part: str, out: Path, steps: int, ablation: str, overrides: Sequence[str]) -> list[str]:
    """The program of a part. Its results are in out/results/<part>."""
    kind = "art_local" if part == "stock" else "shared"
    reuse = "on" if part == "sweep_reuse" else "off"
    asked = [f"+ablation={ablation}"] if part.startswith("sweep") else []
    if part in AT_ONCE:
        overrides = [*overrides, "seed=" + ",".join(map(str, range(AT_ONCE[part])))]
    if not asked and any(override.startswith("seed=") and "," in override for override in overrides):
        asked = ["--multirun"]  # an ablation is one by itself
    options = [f"backend={kind}", f"reuse={reuse}", f"train.steps={steps}", "tracking=off"]
    where = [f"results={out / 'results'}", f"sweep={part}"]
    return [sys.executable, "-m", "harness", *asked, *options, *overrides, *where]


def run_part(part: str, argv: list[str], out: Path, limit: float | None) -> dict[str, Any]:
    """Runs a part and reads its records. limit: seconds after which it is stopped.

    Raises SystemExit where the part has records: the harness would continue them, and the seconds be of the rest alone.
    """
    if (out / "results" / part).exists():
        raise SystemExit(f"{out / 'results' / part} holds a run already; give another --out, or remove it.")
    print(f"{part}: {' '.join(argv[1:])}", flush=True)
    begun = time.perf_counter()
    process = subprocess.Popen(argv)
    cut = False
    try:
        process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        cut = True
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    seconds = time.perf_counter() - begun
    content = {
        "part": part,
        "command": argv[1:],
        "machine": {"gpus": [gpu.name for gpu in gpus()], "cores": os.cpu_count()},
        "seconds": seconds,
        "exit_code": process.returncode,
        "cut": cut,
        "runs": read_runs(out / "results" / part) if (out / "results" / part).exists() else [],
    }
    (out / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"{part}: {seconds:.0f} s, exit code {process.returncode}{', cut' if cut else ''}", flush=True)
    return content


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The records of a sweep's runs, as far as they are needed here."""
    kept = ("step", "seconds", "reward", "raw_reward", "gradient_steps", "trainable_tokens", "missing")
    return [
        {
            "name": run.name,
            "state": run.state,
            "error": run.error,
            "seconds": run.seconds,
            "steps": [{name: line[name] for name in kept} for line in map(dict, run.steps)],
            "validations": [
                {"step": v.step, "seconds": v.seconds, "reference": v.reference, "by_task": v.by_task}
                for v in run.validations
            ],
        }
        for run in sorted(load_sweep(folder).runs, key=lambda run: run.name)
        if run.state != "missing"
    ]


def side_by_side(programs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One part of several programs of it, each on GPUs of its own; its seconds are those of the slowest one."""
    first = programs[0]
    return first | {
        "machine": first["machine"] | {"gpus": [gpu for program in programs for gpu in program["machine"]["gpus"]]},
        "seconds": max(program["seconds"] for program in programs),
        "exit_code": max(program["exit_code"] for program in programs),
        "cut": any(program["cut"] for program in programs),
        "runs": [run for program in programs for run in program["runs"]],
    }


def summary(part: dict[str, Any], project: int) -> dict[str, Any]:
    """The numbers of a part. project: steps of the experiment that a single run's numbers are projected to."""
    runs, gpu_count = part["runs"], max(len(part["machine"]["gpus"]), 1)
    completed = [run for run in runs if run["state"] == "completed"]
    out: dict[str, Any] = {
        "part": part["part"],
        "runs": len(runs),
        "completed": len(completed),
        "steps": max((len(run["steps"]) for run in runs), default=0),
        "seconds": part["seconds"],
        "cut": part["cut"],
        "per_gpu_hour": 3600 * len(completed) / part["seconds"] / gpu_count if completed else None,
    }
    single = part["part"] in SINGLE
    run = next((run for run in runs if single or run["name"].startswith(f"{COMPARED}/")), None)
    if run is None or not run["steps"]:
        return out
    out |= {
        "reward": [line["reward"] for line in run["steps"]],
        "raw_reward": [line["raw_reward"] for line in run["steps"]],
        "reference": [[line["step"], line["reference"]] for line in run["validations"]],
    }
    steps = [line["seconds"] for line in run["steps"]]
    each = [step["rollout"] + step["train"] for step in steps]
    validations = [line["seconds"] for line in run["validations"]]
    later = steps[1:]
    if single and len(runs) > gpu_count:  # one after another, or at once: no step stands for the whole
        return out
    if not single:
        if later and len(completed) == len(runs) and not part["cut"]:
            slowest = max(mean(s["seconds"]["rollout"] + s["seconds"]["train"] for s in r["steps"][1:]) for r in runs)
            whole = part["seconds"] + (project - len(steps)) * slowest
            out |= {"later_step": slowest, "projected_steps": project, "projected_seconds": whole}
            out["later_step_per_run"] = slowest * gpu_count / len(runs)
            out["projected_per_gpu_hour"] = 3600 * len(runs) / whole / gpu_count
        return out
    start = part["seconds"] - sum(each) - sum(validations)
    out |= {
        # of a part that was cut, the step that it was in counts as start: an upper bound
        "start": start,
        "first_step": each[0],
        "later_step": mean(each[1:]) if later else None,
        "later_rollout": mean(step["rollout"] for step in later) if later else None,
        "later_train": mean(step["train"] for step in later) if later else None,
        "validation": mean(validations) if validations else None,
        "gradient_steps": mean(line["gradient_steps"] for line in run["steps"]),
    }
    if later and not part["cut"]:
        whole = start + each[0] + (project - 1) * out["later_step"] + sum(validations)
        out |= {"projected_steps": project, "projected_seconds": whole}
        out["later_step_per_run"] = out["later_step"] * gpu_count / len(runs)
        out["projected_per_gpu_hour"] = 3600 * len(runs) / whole / gpu_count
    return out


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """Markdown: a column for each part."""
    rows = [
        ("runs completed", lambda s: f"{s['completed']} of {s['runs']}{' (cut)' if s['cut'] else ''}"),
        ("steps a run", lambda s: str(s["steps"])),
        ("wall-clock, s", _number("seconds")),
        ("to start and end, s", _number("start")),
        ("first step, s", _number("first_step")),
        ("a later step, s", _number("later_step")),
        ("  of it rollouts, s", _number("later_rollout")),
        ("  of it training, s", _number("later_train")),
        ("a later step, GPU seconds per run", _number("later_step_per_run")),
        ("a validation, s", _number("validation")),
        ("gradient steps in a step", _number("gradient_steps")),
        ("experiments per GPU-hour, measured", _number("per_gpu_hour")),
        ("experiments per GPU-hour, projected", _projected),
        ("  times stock", lambda s: _times(s, summaries, "per_gpu_hour")),
        ("  times stock, projected", lambda s: _times(s, summaries, "projected_per_gpu_hour")),
        ("training reward by step", lambda s: _curve(s.get("reward"))),
        ("raw success by step", lambda s: _curve(s.get("raw_reward"))),
        ("reference validation", lambda s: _curve([value for _, value in s.get("reference", [])])),
    ]
    head = "| | " + " | ".join(s["part"] for s in summaries) + " |"
    lines = [head, "|" + " --- |" * (len(summaries) + 1)]
    for name, cell in rows:
        lines.append(f"| {name} | " + " | ".join(cell(s) for s in summaries) + " |")
    return "\n".join(lines) + "\n"


def _number(name: str) -> Any:
    return lambda s: "–" if s.get(name) is None else f"{s[name]:.1f}"


def _times(s: dict[str, Any], summaries: Sequence[dict[str, Any]], name: str) -> str:
    """Only of whole parts, and as measured only of as many steps."""
    stock = next((other for other in summaries if other["part"] == "stock"), {})
    if not stock.get(name) or s.get(name) is None or s["cut"]:
        return "–"
    return "–" if name == "per_gpu_hour" and s["steps"] != stock["steps"] else f"{s[name] / stock[name]:.1f}"


def _projected(s: dict[str, Any]) -> str:
    if "projected_per_gpu_hour" not in s:
        return "–"
    return f"{s['projected_per_gpu_hour']:.1f} ({s['projected_steps']} steps)"


def _curve(values: Sequence[float | None] | None) -> str:
    return " ".join("–" if v is None else f"{v:.2f}" for v in values or []) or "–"


def allowances(stock: dict[str, Any], part: dict[str, Any], steps: int, seconds: float) -> dict[str, float]:
    """How many times as many experiments of so many steps a part makes in its GPU seconds, by what stock ART is spared.

    nothing; training: its own, for the completed runs of the part that took no gradient step; slow rollouts: all of its
    rollouts and validations take as long as before its first step (its server reads adapters again after that); both.
    """
    completed = [run for run in part["runs"] if run["state"] == "completed"]
    idle = sum(not any(step["gradient_steps"] for step in each["steps"]) for each in completed)
    slow, trained, even = (mean(kind) for kind in zip(*_alone(stock, steps), strict=True))
    return {
        "nothing": len(completed) * slow / seconds,
        "training": (len(completed) * slow - idle * trained) / seconds,
        "slow rollouts": len(completed) * even / seconds,
        "both": (len(completed) * even - idle * trained) / seconds,
    }


def _alone(stock: dict[str, Any], steps: int) -> list[tuple[float, float, float]]:
    """Seconds of each of stock's runs for so many steps: in all, of training, and in all with rollouts as at first.

    All runs are given the shortest start and end: what the slowest leaves of the part's seconds.
    """
    runs = []
    for run in stock["runs"]:
        rollout, train = ([step["seconds"][name] for step in run["steps"]] for name in ("rollout", "train"))
        runs.append((rollout, train, [line["seconds"] for line in run["validations"]]))
    start = stock["seconds"] - max(sum(map(sum, run)) for run in runs)
    found = []
    for rollout, train, validation in runs:
        trained = train[0] + (steps - 1) * mean(train[1:])
        slow = start + trained + rollout[0] + (steps - 1) * mean(rollout[1:]) + sum(validation)
        even = start + trained + rollout[0] * steps + validation[0] * len(validation)
        found.append((slow, trained, even))
    return found


def _allowance_text(parts: Sequence[dict[str, Any]], summaries: Sequence[dict[str, Any]]) -> str:
    """A line for each sweep and number of steps.

    Nothing unless stock ART's runs are whole, of two steps or more, and had a GPU each.
    """
    stock = next((part for part in parts if part["part"] == "stock"), None)
    if stock is None or stock["cut"] or len(stock["runs"]) > max(len(stock["machine"]["gpus"]), 1):
        return ""
    if not stock["runs"] or any(run["state"] != "completed" or len(run["steps"]) < 2 for run in stock["runs"]):
        return ""
    lines = []
    for part, found in zip(parts, summaries, strict=True):
        lengths = {found["steps"]: part["seconds"], found.get("projected_steps"): found.get("projected_seconds")}
        cards = max(len(part["machine"]["gpus"]), 1)
        for steps, seconds in lengths.items():
            if part["part"].startswith("sweep") and found["completed"] and steps and seconds:
                factors = allowances(stock, part, steps, seconds * cards)
                told = ", ".join(f"{name} {factor:.1f}" for name, factor in factors.items())
                whole = f"{found['completed']} of {found['runs']} runs of {steps} steps"
                lines.append(f"- {part['part']}, {whole}, times stock by what stock is spared: {told}\n")
    return "".join(lines)


def agreement(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the reference reward of each other part is from stock's, after the last step that both have validated.

    Over the seeds that both have completed of the arm that is compared, and the reference tasks that nobody misses.
    Other - stock, with the interval of `harness.stats.intervals`, and both parts' own gain since step 0. A part whose
    validation has other tasks, or that shares no seed or step with stock, is left out.
    """
    stock = next((part for part in parts if part["part"] == "stock"), None)
    if stock is None:
        return []
    theirs = _validated(stock)
    out = []
    for part in parts:
        ours = _validated(part)
        names = sorted(ours.keys() & theirs.keys())
        both = [found[name] for found in (ours, theirs) for name in names]
        steps = sorted(set.intersection(*(set(curve) for curve in both))) if names else []
        if part is stock or len(steps) < 2 or steps[0] != 0:
            continue
        first, last = steps[0], steps[-1]
        if len({frozenset(curve[step]) for curve in both for step in (first, last)}) > 1:
            continue  # other tasks
        whole = [t for t in sorted(both[0][last]) if all(c[s][t] is not None for c in both for s in (first, last))]
        if not whole:
            continue
        begun, ended, stock_begun, stock_ended = (
            np.array([[found[name][step][task] for task in whole] for name in names])
            for found in (ours, theirs)
            for step in (first, last)
        )
        spread = crossed_spread(ended - stock_ended)
        out.append(
            {
                "part": part["part"],
                "step": last,
                "runs": names,
                "tasks": len(whole),
                "missing": len(both[0][last]) - len(whole),
                "difference": spread.mean,
                "interval": [spread.mean - spread.half_width(), spread.mean + spread.half_width()],
                "gain": float((ended - begun).mean()),
                "gain_of_stock": float((stock_ended - stock_begun).mean()),
            }
        )
    return out


def _validated(part: dict[str, Any]) -> dict[str, dict[int, dict[str, float | None]]]:
    """Run: step: reference reward by task, of the completed runs of the arm that is compared. None: a missing task."""
    return {
        run["name"]: {line["step"]: line["by_task"] for line in run["validations"] if "by_task" in line}
        for run in part["runs"]
        if run["state"] == "completed" and run["name"].startswith(f"{COMPARED}/")
    }


def _agreement_text(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return (
        f"- {found['part']} - stock: {found['difference']:+.3f} [{low:+.3f}, {high:+.3f}] of reference reward at step "
        f"{found['step']}, over {', '.join(found['runs'])} and {found['tasks']} tasks"
        f"{', other seeds may differ' if len(found['runs']) == 1 else ''}; gain since step 0: "
        f"{found['gain']:+.3f} against {found['gain_of_stock']:+.3f} of stock"
    )


def merge(files: Sequence[Path], out: Path, project: int, against: Sequence[Path] = ()) -> str:
    """Writes stock_vs_shared.json and .md from the parts' files; the Markdown. against: folders of other sweeps."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        found = json.loads(file.read_text())
        by_name.setdefault(found["part"], []).append(found)
    parts = [side_by_side(by_name[name]) for name in PARTS if name in by_name]
    summaries = [summary(part, project) for part in parts]
    machines = {(*sorted(set(part["machine"]["gpus"])), part["machine"]["cores"]) for part in parts}
    found = sorted({name for part in parts for name in part["machine"]["gpus"]}) or ["no GPU"]
    same = "" if len(machines) == 1 else " Parts ran on different machines: their seconds do not compare."
    commands = "\n".join(
        f"    {part['part']}: python {' '.join(program['command'])}"
        for part in parts
        for program in by_name[part["part"]]
    )
    others: list[dict[str, Any]] = [{"part": folder.name, "runs": read_runs(folder)} for folder in against]
    agreed = agreement([*parts, *others])
    if left_out := {other["part"] for other in others} - {each["part"] for each in agreed}:
        raise SystemExit(
            f"--against: {', '.join(sorted(left_out))} has no completed {COMPARED} run of stock's seeds with the same "
            "reference tasks at step 0 and at a later step of stock's."
        )
    curves = "".join(f"{_agreement_text(each)}\n" for each in agreed)
    text = (
        f"# Stock ART against the shared engine\n\n{', '.join(found)}.{same} A later step is the mean over all but the "
        "first, of several runs those of the slowest one. Projected: start, first step and validations as measured, "
        f"and later steps. Rewards are those of the first {COMPARED}.\n\n"
        f"{table(summaries)}\n{_allowance_text(parts, summaries)}{curves}\n{commands}\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "stock_vs_shared.json").write_text(
        json.dumps({"summaries": summaries, "agreement": agreed, "parts": parts}, indent=1) + "\n"
    )
    (out / "stock_vs_shared.md").write_text(text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=PARTS, action="append", help="may be given more than once")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--ablation", default="leave_one_out", help="the runs of both sweeps")
    parser.add_argument("--project", type=int, default=8, help="steps of an experiment")
    parser.add_argument("--limit", type=float, help="seconds for each part")
    parser.add_argument("--stock-option", action="append", default=[])
    parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], help="sweeps whose validation is set beside stock's"
    )
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if empty := [str(folder) for folder in options.against if not read_runs(folder)]:
        parser.error(f"--against: no runs in {', '.join(empty)}; expected the folder of a sweep, results/<sweep>.")
    code = 0
    if not options.merge:
        for part in options.only or BY_DEFAULT:
            overrides = replaced(options.overrides, options.stock_option if part == "stock" else [])
            argv = command(part, out, options.steps, options.ablation, overrides)
            code |= run_part(part, argv, out, options.limit)["exit_code"] != 0
    files = options.merge or [out / f"{part}.json" for part in PARTS if (out / f"{part}.json").exists()]
    print(merge(files, out, options.project, options.against))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
