"""Writes trl_1.16.0.parquet: two steps of TRL's own GRPOTrainer with the micro policy, its second file of completions.

In an environment with trl 1.16.0, datasets and pandas beside this project's packages:

    python tests/probe/outside/write_trl.py
"""

import shutil
import tempfile
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

HERE = Path(__file__).parent
MICRO = HERE.parents[2] / "harness" / "policy" / "micro" / "checkpoint"


def long_reward(completions, **_):
    return [len(one[0]["content"]) / 100 for one in completions]


def call_reward(completions, **_):
    return [float("completed" in one[0]["content"]) for one in completions]


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MICRO)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    asked = ("Can you mark task_97 as pending.", "Please reopen task_3.")
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in asked])
    with tempfile.TemporaryDirectory() as folder:
        options = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=32,
            temperature=1.5,
            max_steps=2,
            logging_steps=1,
            log_completions=True,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
        )
        GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(MICRO),
            reward_funcs=[long_reward, call_reward],
            args=options,
            train_dataset=data,
            processing_class=tokenizer,
        ).train()
        shutil.copy(Path(folder) / "completions" / "completions_00002.parquet", HERE / "trl_1.16.0.parquet")


if __name__ == "__main__":
    main()
