"""From records to effects and claims, as pure functions: same records, same answer. No torch, ART or vLLM behind it.

outcomes.py   SweepRecords -> arrays of reference rewards
effects.py    every effect with its interval (contrasts, intervals, bootstrap, gates, shapley, ranking, pairing,
              profiles, sigmoids, reported_gaps)
claims.py     the registered claims held against the records; measures.py: what they read; command.py: `harness claims`
power.py      the smallest effect that a design finds
sweep_statistics.py   effects and claims of one sweep
simulated_sweeps.py   synthetic sweeps with known effects, to check the intervals
"""
