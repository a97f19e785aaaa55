"""The warm start of smollm2_135m on tau2's retail domain: scripted demonstrations, a few minutes of training on a GPU.

agent.py           the scripted agent: what it looks up, proposes, does and says; which decisions it takes wrongly
demonstrations.py  conversations: the agent in tau2's real environment, as chat messages
packed_rows.py     their tokens, packed behind one copy of the system prompt
low_rank.py        the adapter that is trained, its files, its merge into the base
warm_start.py      the training; checkpoint.py writes what policy=smollm2_135m is
__main__.py        the commands: --out FOLDER trains, --apply FOLDER writes the checkpoint, --show prints

Its tasks, generated on small worlds or taken from tau2's training split, are those of harness/env/retail_tasks.
"""
