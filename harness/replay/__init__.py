"""`harness replay`: is what a sweep recorded what its code computes? Nothing here starts an engine.

again.py     the store of a sweep, read only: what is drawn is computed again and handed on to be compared
episodes.py  two episodes of one key, and two updates (updates.py): bit for bit, within the tolerance, or different?
lines.py     the lines of a run's records against those of the replay
remade.py    a run that was made anew against its records, where the sweep has no store
findings.py  what was compared, and the words for it

harness/launch/replay_command.py walks the runs. docs/replay.md says what a replay shows and what it cannot.
"""
