"""The warm start of smollm2_135m on tau2's retail domain: scripted demonstrations, a few minutes of training on a GPU.

worlds.py          a customer of the benchmark with new ids: a small retail database of their own
customer.py        what a customer has, and how they introduce themselves
requests.py        what they ask for, and the goal behind it (goals.py)
tasks.py           retail tasks generated on such worlds, and the training tasks; never a held-out customer
agent.py           the scripted agent: what it looks up, proposes, does and says; which decisions it takes wrongly
demonstrations.py  conversations: the agent in tau2's real environment, as chat messages
rows.py            their tokens, packed behind one copy of the system prompt
low_rank.py        the adapter that is trained, its files, its merge into the base
warm_start.py      the training; checkpoint.py writes what policy=smollm2_135m is
__main__.py        the commands: --out FOLDER trains, --apply FOLDER writes the checkpoint, --show prints
"""
