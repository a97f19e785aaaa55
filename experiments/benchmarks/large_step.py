"""One whole step of a large policy: what it takes of memory and seconds, beside what the plan expects.

    python -m experiments.benchmarks.large_step qwen2_5_14b --out OUT [--prompt 20000] [--reply 1024] [--row 26624]
        [--option backend.placement=split]

Makes a checkpoint with random weights in the shape of a policy (`harness.machine.memory.SHAPES`), so that nothing is
downloaded, and runs the real loop on it: 8 groups of 6 rollouts, one reply each, a validation before and after. Prompts
share their first quarter, as policy and tools of a benchmark are shared, and are then the task's own. Random weights
write what nobody can read, until the reply is full: what is measured is speed and memory, not learning.

--tokenizer: a policy that is here, whose tokenizer is used, with entries added up to the shape's vocabulary
Writes OUT/large_step_SHAPE.json; without --keep the weights are deleted again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import art

    from harness.env.project import Project

GROUPS, ROLLOUTS = 8, 6
WORDS = ("order", "refund", "address", "payment", "item", "return", "policy", "customer", "agent", "confirm")
RESERVED = 8  # tokens for ART at the top of the vocabulary
LENGTHS = "LARGE_STEP"  # environment variable: words of a prompt, tokens of a reply


def project() -> "Project":
    """The tasks of the benchmark, as an ART project of one's own."""
    from harness.env.project import Project

    words, _ = map(int, os.environ[LENGTHS].split(","))
    train = {f"task_{n}": _prompt(words, n) for n in range(GROUPS)}
    validation = {f"held_out_{n}": _prompt(words, GROUPS + n) for n in range(GROUPS)}
    return Project("large_step", rollout, train, validation, tools=[], version=str(words))


def _prompt(words: int, task: int) -> str:
    shared, stride = words // 4, task + 1
    return (
        " ".join(WORDS[n % 10 if n < shared else (n * stride + n // 7) % 10] for n in range(words)) + f" Task {task}."
    )


async def rollout(model: "art.Model[Any]", task: str) -> "art.Trajectory":
    """One reply. Its reward is as good as random: it makes the spread without which there is no update."""
    import art
    from openai import AsyncOpenAI

    _, reply = map(int, os.environ[LENGTHS].split(","))
    made = art.Trajectory(messages_and_choices=[{"role": "user", "content": task}])
    async with AsyncOpenAI(base_url=model.inference_base_url, api_key=model.inference_api_key) as client:
        answer = await client.chat.completions.create(
            model=model.get_inference_name(), messages=made.messages(), max_tokens=reply, timeout=900
        )
    made.messages_and_choices.append(answer.choices[0])
    said = answer.choices[0].message.content or ""
    made.reward = sum(said.encode()) % 1000 / 1000
    made.metrics["success"] = float(made.reward > 0.5)
    return made


def make_checkpoint(shape_name: str, tokenizer_of: str, length: int, folder: Path) -> None:
    """Random weights in bfloat16, made on the GPU where there is one; length: tokens of its context."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config

    from harness.machine.memory import SHAPES
    from harness.policy import load_policy

    shape = SHAPES[shape_name]
    base = load_policy(tokenizer_of).path
    size: dict[str, Any] = {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": length,
        "dtype": "bfloat16",
    }
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = (Qwen3Config if shape.qk_norm else Qwen2Config)(**size, **ids)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer_config.json", "chat_template.jinja", "generation_config.json", "special_tokens_map.json"):
        if (base / name).is_file():
            shutil.copy(base / name, folder)
    words = json.loads((base / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(_with_more(words, len(tokenizer), shape.vocabulary)))


def _with_more(words: dict[str, Any], there: int, wanted: int) -> dict[str, Any]:
    """tokenizer.json with entries up to the wanted size. ART needs the highest ones for itself: they are tokens of
    their own, under a name that the chat template knows."""
    top = {n: f"<|reserved_{n}|>" for n in range(max(there, wanted - RESERVED), wanted)}
    kind = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words["model"]["vocab"] |= {top.get(n, f"w{n}"): n for n in range(there, wanted)}
    words["added_tokens"] += [{"id": n, "content": text} | kind for n, text in top.items()]
    return words


def words_of(tokenizer_of: str, tokens: int) -> int:
    """How many words make a prompt of at most so many tokens, with the template's."""
    from transformers import AutoTokenizer

    from harness.policy import load_policy

    tokenizer = AutoTokenizer.from_pretrained(load_policy(tokenizer_of).path)

    def length(words: int) -> int:
        messages = [{"role": "user", "content": _prompt(words, GROUPS)}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return len(ids)

    low, high = 1, tokens
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if length(middle) <= tokens else (low, middle)
    return low


@contextmanager
def memory_peaks() -> Iterator[dict[int, float]]:
    """GiB in use on each GPU at most, while the context is open, by the driver's number of it."""
    from harness.machine.gpu_use import gpu_use

    peaks: dict[int, float] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            for each in gpu_use():
                peaks[each.index] = max(peaks.get(each.index, 0.0), each.used or 0.0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def main() -> int:
    from harness.records.load import load_sweep

    asked = _options()
    folder = asked.out / f"weights_{asked.shape}"
    folder.mkdir(parents=True, exist_ok=True)
    words = words_of(asked.tokenizer, asked.prompt)
    began = time.monotonic()
    # a process of its own: what CUDA holds for it is given back
    subprocess.run([*_command(asked, words), "--only-weights"], check=True)
    made = time.monotonic() - began
    length = _length(asked)
    results = asked.out / "results"
    sweep = f"large_step_{asked.shape}"
    command = [
        *(sys.executable, "-m", "harness", "rollout=mine", f"rollout.max_tokens={asked.reply}"),
        "env._target_=experiments.benchmarks.large_step.project",
        *(f"policy.path={folder}", "policy.tool_parser=hermes", f"policy.max_model_len={length}"),
        *("policy.dtype=bfloat16", "train=upstream", "train.steps=1", f"train.packed_sequence_length={asked.row}"),
        *(f"train.train_tasks={GROUPS}", f"train.rollouts_per_group={ROLLOUTS}", f"validation.max_tasks={GROUPS}"),
        *("backend.max_loras=4", "tracking=off", f"results={results}", f"sweep={sweep}", *asked.option),
    ]
    began = time.monotonic()
    with memory_peaks() as peaks:
        code = subprocess.run(command, env={**os.environ, LENGTHS: f"{words},{asked.reply}"}).returncode
    seconds = time.monotonic() - began
    if not asked.keep:
        shutil.rmtree(folder)
    if code:
        print(f"The sweep ended with {code}; its logs are in {results / sweep / 'logs'}", file=sys.stderr)
    if code and not ((results / sweep).is_dir() and load_sweep(results / sweep).runs[0].steps):
        return 1
    report = _report(asked, results / sweep) | {"weights_made_s": made, "sweep_s": seconds, "peak_gib": peaks}
    (asked.out / f"{sweep}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return int(code != 0)


def _report(asked: argparse.Namespace, sweep: Path) -> dict[str, Any]:
    from harness.machine.gpu import gpus
    from harness.machine.memory import (
        GIB,
        SHAPES,
        Load,
        card_of,
        rollout_seconds,
        score_seconds,
        train_seconds,
        training,
    )
    from harness.records.load import load_sweep

    (run,) = load_sweep(sweep).runs
    (step,) = run.steps
    shape = SHAPES[asked.shape]
    load = Load(asked.prompt // 4, asked.prompt - asked.prompt // 4 + asked.reply, asked.reply)
    expected = training(shape, 8, asked.row)
    card, episodes = card_of(gpus()[0].name) if gpus() else None, GROUPS * ROLLOUTS
    return {
        "shape": asked.shape,
        "parameters": shape.parameters,
        "gpus": [gpu.name for gpu in gpus()],
        "options": asked.option,
        "groups": GROUPS,
        "rollouts": ROLLOUTS,
        "prompt_tokens": asked.prompt,
        "reply_tokens": asked.reply,
        "row_tokens": asked.row,
        "step": {name: step.get(name) for name in ("seconds", "trainer", "update", "logprob_gap", "probs_corr")},
        "planned": {
            "trainer_gib": expected.total(True) / GIB,
            "trainer_gib_not_checkpointed": expected.total(False) / GIB,
            "decoding_s": rollout_seconds(shape, load, episodes, episodes, card) if card else None,
            "scoring_s": score_seconds(shape, load, episodes, GROUPS, card) if card else None,
            "training_s": train_seconds(shape, load, episodes, GROUPS, card, twice=True) if card else None,
        },
    }


def _length(asked: argparse.Namespace) -> int:
    return int(asked.prompt + asked.reply + 512)


def _command(asked: argparse.Namespace, words: int) -> list[str]:
    given = ["--prompt", str(asked.prompt), "--reply", str(asked.reply), "--tokenizer", asked.tokenizer]
    return [sys.executable, "-m", "experiments.benchmarks.large_step", asked.shape, "--out", str(asked.out), *given]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompt", type=int, default=20_000, help="tokens")
    parser.add_argument("--reply", type=int, default=1024, help="tokens")
    parser.add_argument("--row", type=int, default=26_624, help="tokens of a packed row: a prompt and six replies")
    parser.add_argument("--tokenizer", default="smollm2_135m_raw")
    parser.add_argument("--option", action="append", default=[], help="of the sweep, such as backend.placement=split")
    parser.add_argument("--keep", action="store_true", help="the weights stay")
    parser.add_argument("--only-weights", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only_weights:
        folder = asked.out / f"weights_{asked.shape}"
        make_checkpoint(asked.shape, asked.tokenizer, _length(asked), folder)
        sys.exit(0)
    return asked


if __name__ == "__main__":
    sys.exit(main())
