"""The policy micro_search: micro's size and making, warm-started on the questions of env=search_qa.

    demonstrations.py   an agent with systematic mistakes
    harness/policy/micro_search/checkpoint/   what this command made, with the versions in requirements.lock:

        python -m experiments.warm_starts.search --out harness/policy/micro_search/checkpoint --seed 0

Tokenizer, template and training are those of experiments/warm_starts/micro/.
"""
