"""A real vLLM server for a file, with a small random policy and random adapters."""

import asyncio
from pathlib import Path

import pytest

MAX_LORAS = 4
ADAPTERS = 7  # more than there are slots


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory) -> Path:
    """A random 3-layer Llama with a byte-level tokenizer, and adapter-0 ... adapter-6 beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("policy")
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": special})
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = dict(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256)
    ids = dict(vocab_size=320, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    config = LlamaConfig(**shape, **ids, tie_word_embeddings=True, initializer_range=0.15)
    LlamaForCausalLM(config).save_pretrained(folder)
    for number in range(ADAPTERS):
        torch.manual_seed(number + 1)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        base = LlamaForCausalLM.from_pretrained(folder)
        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=targets))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder / f"adapter-{number}")
    return folder


@pytest.fixture(scope="session")
def runner():
    """One event loop for everything that talks to the server."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def server(policy_folder, runner, tmp_path_factory):
    from harness.engine.server import Server, ServerConfig

    log = tmp_path_factory.mktemp("log") / "server.log"
    sizes = dict(max_model_len=1024, dtype="float32", lora_rank=8, max_loras=MAX_LORAS)
    server = Server(ServerConfig(path=policy_folder, name="base", tool_parser="hermes", log=log, **sizes))
    runner.run(server.__aenter__())
    yield server
    runner.run(server.stop())
