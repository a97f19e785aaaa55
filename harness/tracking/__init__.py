"""W&B as a view of the records: one W&B run per run, and nothing that the records don't hold.

    group     the sweep, /block if any     config.fix.<factor>   the arm's levels
    name      of the run                   config.block          its block, if any
    job_type  train                        tags                  arm, block, baseline, environment, policy
    step      the axis of everything below: one row a step
    val/reward, reported/reward, val_gap, train/*, check/<factor>/*
    summary   state, validity, invalid, and first, last, slope, area as in the report's table of arms; once the sweep
              has ended vs_all_on/*, vs_all_off/* and effect/*

One run more, of job_type report, shows the sweep's report once it has ended.

Project and entity: WANDB_PROJECT (tracking.project wins when a sweep starts) and WANDB_ENTITY. The key: WANDB_API_KEY,
or `wandb login`. Online, the group's address is printed once.

tracker.py         what a run tells W&B
background.py      takes it at once and passes it on to wandb_process.py, the process in which all of W&B happens
given_up.py        the one line of a sweep whose W&B failed
report_run.py      the run that shows the sweep's report, its effects and a sample of its rollouts (tables.py)
arm_effects.py     what the arm of a run does to the reward
metrics.py         lines of the records -> what is logged
command.py         `harness track`; dashboard/: `harness dashboard`

Nothing reads a result from here, and of the neighbours only sweep/ and launch/ know the room. Tracking can't break or
slow a run, or keep a sweep from ending: the first failure ends it for all runs, the process is killed where W&B does
not end in time, and a line says so. Whatever W&B missed, or lost when a process died, comes back with

    harness track results/<sweep>

which writes every run of a sweep again from its records. A run's W&B id depends on the sweep and the run
alone, so the newer writing replaces the older one.

Measured on two busy cores with wandb 0.25.0, 64 interleaved runs of 6 steps: 4.7 CPU seconds offline, the process
included, and 7.7 online. A server that answers after 0.3 s has all 64 runs 3.4 s after their end.
"""

from harness.tracking.background import Background, tracked
from harness.tracking.tracker import MODES, Tracker, resolve_mode

__all__ = ["MODES", "Background", "Tracker", "resolve_mode", "tracked"]
