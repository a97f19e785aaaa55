"""From records to effects and claims, as pure functions: same records, same answer.

outcomes.py   records -> arrays of reference rewards: final, area, slope; shown.py: whose switch was shown
effects.py    every effect with its interval, from contrasts.py (weights over arms), intervals.py (seeds × tasks,
              crossed), bootstrap.py, assumed_arms.py (arms that stand for others), shapley.py, ranking.py
measured.py   a contrast held against the rewards; worst_case.py: whatever missing episodes were; as_named.py: were
              INVALID runs what they are named after; verdicts.py: what may be said of it
by_step.py    every effect at every validation, with a band; settling.py: whether all_on had settled; depends.py:
              verdicts that hold for some steps only; effect_map.py: the same by block; stability.py: how steady a
              reward stays
decline.py    does the policy get worse with all fixes on, and is that shown?
reward_range.py   what an estimate can be at all, and an interval that is cut there for print
unseen_failures.py   what few seeds cannot see, from unseen_failures.json; by_chance.py: what they see that is not there
stopped_updates.py   without which fixes no update was made
blocks.py     effects in each block of a sweep (learning rates), and their interaction with the block
controls.py   do placebos seem to matter, and negative controls to learn?
looks.py      what looking more than once costs; sequential_t.py: the level of each look
more_seeds.py how many more seeds an undecided effect needs, and in which arms
beside them   pairing.py, profiles.py, sigmoids.py, reported_gaps.py and reported_effects.py (what arms show by their
              own rules), task_effects.py (which tasks a fix moves), steps_to_threshold.py, pass_k.py (of samples)
claims.py     the registered claims held against the records; measures.py: what they read; command.py: `harness claims`
power.py      the smallest effect that a design finds; pilot.py: what an earlier sweep knows of the variances
combine.py    sweeps of different seeds or policies, by meta_analysis.py; copies.py: never one training twice;
              combine_command.py: `harness combine`
sweep_statistics.py   all of it for one sweep, and effects.json

Statistics know arms, levels and rewards; no wording, no colour, no engine, and no fix by its name (but measures.py,
which reads what the note's claims name). No torch, art or vllm.
"""
