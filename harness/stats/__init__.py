"""From records to effects and claims, as pure functions: same records, same answer.

outcomes.py   records -> arrays of reference rewards: final, area, slope; shown.py: whose switch was shown
effects.py    every effect with its interval, from contrasts.py (weights over arms), intervals.py (seeds × tasks,
              crossed), bootstrap.py, assumed_arms.py (arms that stand for others), shapley.py, ranking.py
unseen_failures.py   what few seeds cannot see, from unseen_failures.json
stopped_updates.py   without which fixes no update was made
beside them   pairing.py, profiles.py, sigmoids.py, reported_gaps.py
claims.py     the registered claims held against the records; measures.py: what they read; command.py: `harness claims`
power.py      the smallest effect that a design finds; pilot.py: what an earlier sweep knows of the variances
combine.py    sweeps of different seeds or policies, by meta_analysis.py; combine_command.py: `harness combine`
sweep_statistics.py   effects and claims of one sweep

Statistics know arms, levels and rewards; no wording, no colour, no engine, and no fix by its name (but measures.py,
which reads what the note's claims name). No torch, art or vllm.
"""
