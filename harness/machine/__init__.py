"""The harness on a machine that has a GPU and PyTorch but no network.

    extras.lock  what such a machine lacks, beyond PyTorch and the two environments below
    pack.py      `python -m harness pack OUT`, on a machine with a network: OUT holds all that must be brought
    unpack.py    goes along as OUT/unpack.py and sets it up there; standard library alone

The machine itself must have CPython 3.12 on x86-64 with PyTorch, and two Python trees, since vLLM and ART exclude each
other's transformers: TRAINER_PATH (openpipe-art, transformers 5.2, peft, litellm, wandb) and SERVER_PATH (vllm), as
PYTHONPATH takes them. Where one environment serves for either, the variable stays unset.
"""
