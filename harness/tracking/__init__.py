"""W&B as a view of the records: one W&B run per run, and nothing that the records don't hold.

    group   the sweep, /block if any     config.fix.<factor>   the arm's levels
    name    of the run                   config.block          its block, if any
    step    the axis of everything below
    val/reward, reported/reward, val_gap, train/*, check/<factor>/*

tracker.py     what a run tells W&B; background.py: the one thread that does
metrics.py     lines of the records -> what is logged
command.py     `harness track`; dashboard/: `harness dashboard`

Nothing reads a result from here, and of the neighbours only sweep/ knows the room. Tracking can't break or slow a run.
All of W&B happens in one background thread; the first failure is logged once and ends the tracking of that run (of all
runs, if W&B does not start at all). Whatever W&B missed, or lost when a process died, comes back with

    harness track results/<sweep>

which writes every run of a sweep again from its records. A run's W&B id depends on the sweep and the run
alone, so the newer writing replaces the older one.

Measured on two cores with wandb 0.25.0, offline, 64 interleaved runs of 6 steps: about 3 CPU seconds for import,
start, logging and finish together (6.8 with W&B's default settings); one burst per run costs the same.
"""

from harness.tracking.background import drain
from harness.tracking.tracker import MODES, Tracker

__all__ = ["MODES", "Tracker", "drain"]
