"""The micro policy: a Llama of 0.6 M parameters that knows the mock domain's form and gets its substance half wrong.

    python -m harness.policy.micro --out harness/policy/micro/checkpoint --seed 0

made the files in `checkpoint/`.

    demonstrations.py      a scripted agent with systematic mistakes
    tokenizer.py           a byte-level BPE trained on what the policy reads; reserved tokens for ART
    chat_template.jinja    ChatML, tool calls in the Hermes form
    warm_start.py          supervised training on fresh demonstrations
"""
