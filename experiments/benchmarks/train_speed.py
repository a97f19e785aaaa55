"""How fast the trainer trains, and what each of its parts brings.

    .venv/bin/python experiments/benchmarks/train_speed.py --out OUT [--policy micro] [--device auto] [--groups 6]

On made-up groups of the policy's shape (no server, no environment), all in one process:

    attention   blocks of flex attention against the dense bias, on the same rows
    packing     rollouts behind one copy of their prompt against a row for every rollout, padded as stock ART pads
    kernels     LoRA and norms in few kernels against PEFT's and transformers' own
    interleaved one update of 1, 2, 4 and 8 runs that take turns, their states kept on the device or brought there
    tiles       only on a GPU: flex attention alone, all layers of a row, our kernel options against others
    profile     only when asked for with --parts: where the time of an update goes, by operation

Writes OUT/train_speed.json and OUT/train_speed.md and prints the second. A part that fails is reported as failed and
stops no other. TFLOP are those of `harness.engine.execution.UpdateCost`; a share of the peak, for cards in PEAK.
"""

import argparse
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

# Dense bfloat16 TFLOP/s on tensor cores, by a part of the device's name; the first that matches. Half of what NVIDIA's
# data sheets give "with sparsity": H100 (2023): 1,979 SXM and 1,513 PCIe; H200 (2024): 1,979; L4: 242. A100: 312 dense.
PEAK = {"H100 PCIe": 756.0, "H100": 989.0, "H200": 989.0, "A100": 312.0, "NVIDIA L4": 121.0}

RUNS = (1, 2, 4, 8)
PARTS = ("attention", "packing", "kernels", "interleaved", "tiles")


@dataclass(frozen=True)
class Shape:
    """Tokens: of a group's prompt, of a rollout's own part (least, most), of a row; rollouts in a group.

    alone: a row that holds one rollout is padded to a multiple of this
    """

    prompt: int
    own: tuple[int, int]
    rollouts: int
    row_tokens: int
    alone: int


SHAPES = {
    "retail": Shape(prompt=5_000, own=(500, 2_000), rollouts=8, row_tokens=16_384, alone=2_048),
    "mock": Shape(prompt=100, own=(40, 140), rollouts=6, row_tokens=512, alone=512),
}


def main() -> None:
    started = time.perf_counter()
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import torch

    from harness.engine.trainer import Execution
    from harness.machine.gpu import gpus
    from harness.policy import load_policy

    device = options.device if options.device != "auto" else "cuda" if gpus() else "cpu"
    shape = SHAPES[options.shape or ("mock" if options.policy == "micro" else "retail")]
    policy = load_policy(options.policy)
    bench = Bench(policy, device, shape, options, Execution.on(device))
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "policy": policy.name,
        "groups": options.groups,
        "shape": asdict(shape),
        "execution": {key: str(value) for key, value in asdict(bench.trainer.execution).items()},
        "notes": bench.trainer.notes,
    }
    peak = next((value for name, value in PEAK.items() if name in report["device"]), None)
    rows: list[dict[str, Any]] = []
    options.out.mkdir(parents=True, exist_ok=True)
    for part in (getattr(bench, name) for name in options.parts):
        begun = time.perf_counter()
        try:
            rows += part()
        except Exception as error:  # the other parts still say something
            logging.exception("%s failed", part.__name__)
            rows.append({"part": part.__name__, "what": f"failed: {type(error).__name__}: {error}"[:200]})
        logging.info("%s: %.1f s", part.__name__, time.perf_counter() - begun)
        for row in rows:
            if peak and "tflop_per_s" in row:
                row["share_of_peak"] = row["tflop_per_s"] / peak
        report |= {"peak_tflop_per_s": peak, "rows": rows, "seconds": time.perf_counter() - started}
        # after every part: one that is cut short loses no other
        (options.out / "train_speed.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / "train_speed.md").write_text(markdown(report))
    print(markdown(report))


class Bench:
    """One trainer, warmed up, and the rows that it is measured on."""

    def __init__(self, policy: Any, device: str, shape: Shape, options: argparse.Namespace, execution: Any) -> None:
        from harness.engine.trainer import Lora, Optimiser, Trainer

        self.shape = shape
        self.options = options
        self._make: Callable[[Any], Trainer] = lambda how: Trainer(
            policy.path,
            policy.digest,
            Lora(),
            Optimiser(groups_per_step=2),
            device,
            threads=options.threads,
            execution=how,
            memory_share=options.memory_share,
        )
        self.trainer = self._make(execution)
        self.trainer.prepare()
        self.packed = self._groups(options.groups)

    def _groups(self, groups: int, share_prompt: bool = True) -> Any:
        from harness.engine.synthetic import packed_groups

        longest = self.shape.prompt + self.shape.own[1]
        row = self.shape.row_tokens if share_prompt else -(-longest // self.shape.alone) * self.shape.alone
        return packed_groups(
            groups,
            self.shape.rollouts,
            self.shape.prompt,
            self.shape.own,
            self.trainer.size.vocabulary,
            row,
            share_prompt=share_prompt,
        )

    def attention(self) -> list[dict[str, Any]]:
        used = self.trainer.execution.attention
        rows = [self._timed("attention", used, self.trainer, self.packed)]
        if used == "flex":
            self.trainer.use_attention("dense")
            try:
                rows.append(self._timed("attention", "dense", self.trainer, self.packed))
            finally:
                self.trainer.use_attention("flex")
        return _against_the_first(rows)

    def packing(self) -> list[dict[str, Any]]:
        """The same rollouts twice; what is compared is the time that they take, not tokens/s."""
        packed = self._timed("packing", "one prompt for a group", self.trainer, self.packed)
        used = self.trainer.execution
        self.trainer.execution = replace(used, row_by_row=True, row_multiple=self.shape.alone)
        try:
            alone = self._timed(
                "packing",
                f"a row for each rollout, padded to {self.shape.alone:,}",
                self.trainer,
                self._groups(self.options.groups, share_prompt=False),
            )
        finally:
            self.trainer.execution = used
        return _against_the_first([packed, alone])

    def kernels(self) -> list[dict[str, Any]]:
        """A second trainer, its adapters computed in the other way."""
        used = self.trainer.execution
        other = self._make(replace(used, fused=not used.fused))
        names = {True: "few", False: "PEFT's and transformers' own"}
        return _against_the_first(
            [
                self._timed("kernels", names[used.fused], self.trainer, self.packed),
                self._timed("kernels", names[not used.fused], other, self.packed),
            ]
        )

    def interleaved(self) -> list[dict[str, Any]]:
        """Updates of one gradient step, two for each run; the seconds are an update's."""
        tensors = self._groups(2)
        rows = []
        ways = [("brought to the device", replace(self.trainer.execution, states=0))]
        if self.trainer.execution.states:
            ways.insert(0, ("kept on the device", self.trainer.execution))
        for where, execution in ways:
            trainer = self.trainer if execution == self.trainer.execution else self._make(execution)
            for runs in RUNS:
                states = [trainer.initial_state(seed) for seed in range(runs)]
                states = [trainer.update(state, tensors, 1e-5, {})[0] for state in states]  # moments exist
                seconds = []
                for _ in range(2):
                    for run, state in enumerate(states):
                        states[run], _metrics = trainer.update(state, tensors, 1e-5, {})
                        seconds.append(trainer.last)
                rows.append(_row("interleaved", f"{runs} runs, states {where}", seconds))
        return _against_the_first(rows)

    def tiles(self) -> list[dict[str, Any]]:
        """Seconds of the attention, forward and backward, of a row in all layers, by a kernel for all lengths."""
        import torch
        from torch.nn.attention.flex_attention import flex_attention

        from harness.engine import attention
        from harness.engine.packed_rows import minibatches, padded, single_rows

        if self.trainer.execution.attention != attention.FLEX:
            return []
        row = next(single_rows(next(minibatches(self.packed, 1)), self.trainer.execution.row_multiple))
        tokens, layers = row["tokens"].shape[1], self.trainer.size.layers
        heads = self.trainer.model.get_base_model().config.num_attention_heads
        width = self.trainer.size.width // heads
        ways = {
            "ours": attention.kernel_options(tokens, width),
            "whole blocks, PyTorch's tiles": attention.BY_BLOCKS,
            "PyTorch's own": None,
        }
        rows = []
        for name, options in ways.items():
            torch._dynamo.reset()
            kernel: Any = torch.compile(flex_attention)
            for longer in (2 * tokens, tokens):  # the second length makes it a kernel for all
                seconds = []
                same = padded(row, longer)
                blocks = attention.block_mask(same["group_ids"].cuda(), same["parent_ids"].cuda())
                shape = (1, heads, longer, width)
                tensors = [torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in "qkv"]
                for _ in range(1 + self.options.repeats):
                    torch.cuda.synchronize()
                    begun = time.perf_counter()
                    for _ in range(layers):
                        out = kernel(*tensors, block_mask=blocks, kernel_options=options)
                        out.backward(torch.ones_like(out))
                    torch.cuda.synchronize()
                    seconds.append(time.perf_counter() - begun)
            median = statistics.median(seconds[1:])
            rows.append({"part": "tiles", "what": f"{name}, {tokens:,} tokens", "seconds": median})
        return _against_the_first(rows)

    def profile(self) -> list[dict[str, Any]]:
        """PyTorch's profile of an update on one group (of more it takes minutes), written to OUT/train_profile.txt."""
        from torch.profiler import ProfilerActivity, profile

        on_gpu = self.trainer.device.type == "cuda"
        packed = self._groups(1)
        row = self._timed("profile", "the update that is profiled", self.trainer, packed)
        state = self.trainer.initial_state(0)
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
            self.trainer.update(state, packed, 1e-5, {})
        orders = ("self_cuda_time_total", "self_cpu_time_total") if on_gpu else ("self_cpu_time_total",)
        tables = (seen.key_averages().table(sort_by=order, row_limit=30) for order in orders)
        (self.options.out / "train_profile.txt").write_text("\n".join(tables))
        return _against_the_first([row])

    def _timed(self, part: str, what: str, trainer: Any, tensors: Any) -> dict[str, Any]:
        """Median of some updates after one that does not count."""
        state = trainer.initial_state(0)
        state, _ = trainer.update(state, tensors, 1e-5, {})
        spent = []
        for _ in range(self.options.repeats):
            state, _ = trainer.update(state, tensors, 1e-5, {})
            spent.append(trainer.last)
        row = _row(part, what, spent)
        logging.info("%s, %s: %.3f s an update, %.0f tokens/s", part, what, row["seconds"], row["tokens_per_s"])
        return row


def _row(part: str, what: str, spent: list[Any]) -> dict[str, Any]:
    """The median update, by its seconds."""
    seconds = statistics.median(s.seconds for s in spent)
    step_seconds = statistics.median(s.step_seconds for s in spent)
    one = spent[0]  # they are over the same tokens
    return {
        "part": part,
        "what": what,
        "seconds": seconds,
        "step_seconds": step_seconds,
        "tokens": one.amount.tokens,
        "computed_tokens": one.amount.computed,
        "trained_tokens": one.amount.trained,
        "tokens_per_s": one.amount.tokens / seconds,
        "trained_tokens_per_s": one.amount.trained / seconds,
        "tflop_per_s": one.tflop / seconds,
        "peak_gib": max(s.peak_gib for s in spent),
    }


def _against_the_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"times_the_first": row["seconds"] / rows[0]["seconds"]} for row in rows]


def markdown(report: dict[str, Any]) -> str:
    shape = report["shape"]
    lines = [
        f"# Training speed: {report['policy']} on {report['device']}, torch {report['torch']}",
        "",
        f"{report['groups']} groups of {shape['rollouts']} rollouts, a prompt of {shape['prompt']:,} tokens and "
        f"{shape['own'][0]:,} to {shape['own'][1]:,} of a rollout's own, rows of {shape['row_tokens']:,} tokens; "
        f"{report['seconds']:.0f} s in all.",
        "",
        *(f"- {note}" for note in report["notes"]),
        "",
        "| part | what | s an update | x | of it steps | tokens | tokens/s | trained/s | TFLOP/s | of peak | GiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["rows"]:
        if "seconds" not in row:
            lines.append(f"| {row['part']} | {row['what']} |" + " |" * 9)
            continue
        if "tokens" not in row:
            times = f"{row['seconds']:.3f} | {row['times_the_first']:.2f}"
            lines.append(f"| {row['part']} | {row['what']} | {times} |" + " |" * 7)
            continue
        share = f"{row['share_of_peak']:.1%}" if "share_of_peak" in row else ""
        lines.append(
            f"| {row['part']} | {row['what']} | {row['seconds']:.3f} | {row['times_the_first']:.2f} "
            f"| {row['step_seconds']:.3f} | {row['tokens']:,} | {row['tokens_per_s']:,.0f} "
            f"| {row['trained_tokens_per_s']:,.0f} | {row['tflop_per_s']:.3g} | {share} | {row['peak_gib']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for train_speed.json and train_speed.md")
    parser.add_argument("--policy", default="micro", help="a policy of the harness (default: micro)")
    parser.add_argument("--shape", choices=SHAPES, help="default: mock for micro, else retail")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--groups", type=int, default=6, help="groups in an update (default: 6)")
    parser.add_argument("--repeats", type=int, default=2, help="updates that count (default: 2)")
    parts = [*PARTS, "profile"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=PARTS, help="default: all but profile")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU (default: 1)")
    parser.add_argument("--memory-share", type=float, help="of the GPU's memory, in (0, 1] (default: what is free)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
