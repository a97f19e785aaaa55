"""A sweep from plan to trained runs, wherever its engines are.

plan.py        what is asked, checked and loaded; manifest.py writes it down and refuses to mix two plans;
               block_records.py: what it keeps of blocks
certified.py   what is known here of answers in company
source.py      the files and versions that numbers depend on; undo.py: a refused command leaves no plan behind
estimate.py    what it will cost; user_cost.py: users that are models; partition.py: the parts that an engine gets at a
               time
train_runs.py  one engine trains the runs it is given; runner.py: one run of it
display.py     progress on the terminal; watch.py: the same, read from the records of other processes; board.py:
               where the sweep stands, for `harness watch`, and how that stops it
cost.py        what was spent; sample.py: rollouts that are kept with their token ids

It must not know who starts engines (launch/), nor a fix: levels are names here, and what they do is in the seams.
"""
