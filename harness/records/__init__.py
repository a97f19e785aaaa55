"""What a sweep wrote, and the results it shares. The records are the truth; everything shown is a view of them.

schema.py       what a record says: one definition for those who write and those who read
together.py     do the steps of a run together show what none shows alone?
json_files.py   JSON on disk: lines, objects, and what a crash leaves of them
layout.py       which file holds what, in a live sweep and in an archived one
run_records.py  one run's files, written line by line as it goes
load.py         a sweep, read back at any moment of its life
reuse.py        what its runs asked for, computed and shared
links.py        no link leads what is written out of the folder
changes.py      has a folder changed since it was read?
looks.py        how often a sweep was looked at, and which seeds it was planned with
archive.py      the records of all runs in one file, to be committed, and back again; archive_format.py: that file
store.py        content-addressed episodes and updates: computed once, found again

Neighbours must not know names of files: they ask `SweepFiles` and `RunFiles` (layout.py) or `load_sweep`.
"""
