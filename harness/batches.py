"""Which tasks a step trains on: what a seed and the training list say, and nothing else."""

import random
from collections.abc import Iterator, Sequence

from harness.factors import derive_seed


def iterate(task_ids: Sequence[str], batch: int, seed: int) -> Iterator[list[str]]:
    """Batches of tasks, epoch after epoch, each epoch in an order of its own; as ART's `iterate_dataset`.

    A batch holds a task once, so an epoch's last batch may be smaller.
    """
    epoch = 0
    while True:
        order = list(task_ids)
        random.Random(derive_seed(seed, "order", epoch)).shuffle(order)
        for start in range(0, len(order), batch):
            yield order[start : start + batch]
        epoch += 1
