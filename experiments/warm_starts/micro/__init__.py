"""The micro policy: a Llama of 0.6 M parameters that knows the mock domain's form and gets its substance half wrong.

    demonstrations.py      a scripted agent with systematic mistakes
    tokenizer.py           a byte-level BPE trained on what the policy reads; reserved tokens for ART
    chat_template.jinja    ChatML, tool calls in the Hermes form
    warm_start.py          supervised training on fresh demonstrations
    harness/policy/micro/checkpoint/   what this command made, with the versions in requirements.lock:

        python -m experiments.warm_starts.micro --out harness/policy/micro/checkpoint --seed 0

On the 45 test tasks of `mock` it succeeds at .20 greedily and .40 at temperature 1: always where no decision can be
wrong, never greedily elsewhere (`experiments/micro_offline.py`).
"""
