"""A run that was made anew: compared as it is as far as the updates have the recorded names, then as one of its arm."""

from harness.records.schema import RunContent
from harness.replay.findings import DIFFERS, SAME, UNJUDGED, WITHIN
from harness.replay.lines import compare_lines
from harness.replay.remade import bit_for_bit, compare_run

OTHERS = [{0: 0.2, 1: 0.3, 2: r} for r in (0.8, 0.9, 0.85, 0.9)]  # of the arm's other seeds, by step


def run(updates=("a", "b"), rewards=(0.2, 0.4, 0.8), counted=0.5, stated=None):
    """rewards: of each validation, over ten tasks; stated: the last mean, where it is another one"""

    def validation(step, reward):
        tasks = {f"t{n}": float(n < round(10 * reward)) for n in range(10)}
        mean = stated if stated is not None and step == len(rewards) - 1 else sum(tasks.values()) / 10
        return {"step": step, "reference": {"mean": mean, "by_task": tasks}, "seconds": 1.0}

    steps = [
        {"step": n, "update": u, "reward": counted, "loss": 0.1, "trainable_tokens": 9}
        for n, u in enumerate(updates, 1)
    ]
    return RunContent({"state": "completed"}, steps, [validation(s, r) for s, r in enumerate(rewards)], [])


def verdicts(there, here, others=OTHERS, exact=True):
    return {each.place: each.verdict for each in compare_run("r", there, here, others, exact)}


def test_a_run_whose_updates_have_the_recorded_names_is_compared_as_it_is():
    assert set(verdicts(run(), run()).values()) == {SAME, WITHIN}
    found = verdicts(run(rewards=(0.2, 0.5, 0.8)), run())
    assert found["r, validation 1"] == DIFFERS and found["r, validation 0"] == SAME


def test_steps_are_bit_for_bit_up_to_the_first_other_name():
    assert bit_for_bit(run().steps, run(("a", "x")).steps, exact=True) == 1
    assert bit_for_bit(run((None, "b")).steps, run((None, "b")).steps, exact=True) == 2
    assert bit_for_bit(run((None, "b")).steps, run((None, "b")).steps, exact=False) == 0


def test_from_there_on_a_validation_stands_beside_the_arms_seeds():
    other = run(("x", "y"), (0.2, 0.4, 0.9))
    found = verdicts(run(), other)
    assert found["r, validation 0"] == SAME and found["r, step 1"] == WITHIN
    assert found["r, last validation (step 2)"] == WITHIN
    planted = compare_run("r", run(("x", "y"), (0.2, 0.4, 0.0)), other, OTHERS, True)
    told = next(each for each in planted if each.place == "r, last validation (step 2)")
    assert told.verdict == DIFFERS and told.detail.startswith("0.000 there, 0.900 here; two runs of the arm differ by")


def test_one_seed_cannot_say_how_much_a_run_may_differ():
    found = verdicts(run(), run(("x", "y"), (0.2, 0.4, 0.1)), others=[])
    assert found["r, last validation (step 2)"] == UNJUDGED and DIFFERS not in found.values()


def test_in_float32_the_base_policy_is_the_same_everywhere():
    other = run(("x", "y"), (0.3, 0.4, 0.8), counted=0.6)
    found = verdicts(run(), other)
    assert found["r, validation 0"] == found["r, step 1"] == DIFFERS
    assert DIFFERS not in verdicts(run(), other, exact=False).values()


def test_a_mean_that_its_tasks_do_not_give_is_named():
    found = compare_run("r", run(stated=0.9), run(), OTHERS, True)
    assert found[0].detail == "its mean is recorded as 0.9000 and its tasks give 0.8000"


def test_a_line_is_compared_but_for_how_long_it_took():
    there, here = run(), run()
    here.validation[0]["seconds"] = 5.0
    here.steps[1]["loss"] = 0.3
    assert [each.verdict for each in compare_lines("r", there, here)].count(DIFFERS) == 1
    del here.steps[1]
    (gone,) = (each for each in compare_lines("r", there, here) if each.verdict == DIFFERS)
    assert (gone.place, gone.detail) == ("r, steps 2", "the replay writes no such line")
    assert len(compare_lines("r", there, here, until=1)) == 3
