"""What a machine has, and how it gets what it lacks. Nothing here knows a sweep, a run or a fix.

setup.py         `harness setup`; environments.py makes the two environments, since vLLM and ART exclude each other's
                 transformers
gpu.py           which accelerator this process sees; gpu_room.py: is its memory free, and whose is it? gpu_use.py: how
                 busy it is
inventory.py     card, memory, disk, keys
certificate.py   how far answers in company differ from answers alone here, once it was measured
memory.py        what a policy needs on one GPU; processes.py: process groups, and their end
pack.py          `harness pack` (pack_command.py): all that a machine without a network must be brought; unpack.py goes
                 along and sets it up there
*.lock           exact versions: the server's on CPU and GPU, and what a packed machine lacks

A machine that is set up from a pack must have CPython 3.12 on x86-64 with PyTorch, and two Python trees: TRAINER_PATH
(openpipe-art, transformers 5.2, peft, litellm, wandb) and SERVER_PATH (vllm), as PYTHONPATH takes them. Where one
environment serves for either, the variable stays unset.
"""
