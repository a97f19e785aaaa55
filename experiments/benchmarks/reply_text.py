"""What a reply's text costs behind a long prompt: decoded behind all of it, as vLLM does, and behind its last tokens.

    .venv/bin/python experiments/benchmarks/reply_text.py                # 5,500 tokens before a reply of a tool call

Prints milliseconds a reply and their ratio. Needs smollm2_135m_raw: harness policy fetch smollm2_135m_raw.
"""

import argparse
import statistics
import time

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from harness.engine.server_side.harness_vllm_text import TAIL
from harness.policy import load_policy

TEXT = "The agent looks up the order of the customer, number W12345. "
REPLY = '{"name": "find_user", "arguments": {"a": 1}}'


def milliseconds(tokenizer: Tokenizer, prompt: list[int], reply: list[int]) -> float:
    started = time.perf_counter()
    stream = DecodeStream(ids=prompt, skip_special_tokens=True)
    for each in reply:
        stream.step(tokenizer, each)
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=5500)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(load_policy("smollm2_135m_raw").path / "tokenizer.json"))
    prompt, reply = tokenizer.encode(TEXT * options.tokens).ids[: options.tokens], tokenizer.encode(REPLY).ids
    taken: dict[int, list[float]] = {options.tokens: [], TAIL: []}
    for _ in range(options.repeats):  # in turn
        for behind, times in taken.items():
            times.append(milliseconds(tokenizer, prompt[-behind:], reply))
    whole, tail = (statistics.median(times) for times in taken.values())
    print(f"a reply of {len(reply)} tokens: {whole:.2f} ms behind {options.tokens} tokens, {tail:.3f} ms behind {TAIL}")
    print(f"ratio {whole / tail:.0f}")


if __name__ == "__main__":
    main()
