"""Which tasks a step trains on (harness/batches.py)."""

import random
from itertools import islice

from harness.batches import iterate
from harness.factors import derive_seed


def shuffled(epoch, seed=3):
    order = list("abcde")
    random.Random(derive_seed(seed, "order", epoch)).shuffle(order)
    return order


def test_tasks_are_drawn_epoch_after_epoch_each_in_an_order_of_its_own():
    first, second, third = shuffled(0), shuffled(1), shuffled(2)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    assert list(islice(iterate("abcde", 2, seed=3), 8)) == [
        first[:2], first[2:4], first[4:],
        second[:2], second[2:4], second[4:],
        third[:2], third[2:4],
    ]  # fmt: skip


def test_the_order_is_that_of_the_seed():
    assert next(iterate("abcde", 5, seed=4)) == shuffled(0, seed=4) != shuffled(0)


def test_a_batch_that_is_larger_than_the_tasks_holds_each_once():
    assert [sorted(batch) for batch in islice(iterate("abc", 8, seed=0), 2)] == [list("abc")] * 2
