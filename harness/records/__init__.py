"""What a sweep wrote, and the results it shares. The records are the truth; everything shown is a view of them.

run_records.py  one run's files, written line by line as it goes
load.py         a sweep's files, read back at any moment of its life
store.py        content-addressed episodes and updates: computed once, found again

Neighbours must not know the layout of the files.
"""
