"""Controlled ablations of an RL loop: which fixes make a tool-calling policy learn, and how sure is that?

Reading order: loop.py (the RL loop, one page), fixes/reward.py (one fix), seams.py (where fixes act), a sweep's
report. docs/design.md says why things are as they are. A folder's `__init__` is its map.

what is compared    factors.py, designs.py: factors, arms, runs, designs; blocks.py: a second axis; data alone
                    seams.py, fixes/: where a fix acts; each fix with its levels and its check
what is asked       config.py: a sweep as typed, frozen data; sections.py: its parts; levels.py: its fixes; strict.py:
                    what a field takes, and the sentence for what it does not
one run             loop.py, batches.py; rollout.py, episode.py, completion.py, episode_player.py,
                    project_player.py, player_pool.py: episodes, what a server's answer is taken for, and who plays
                    validation.py: reference and reported; evidence.py, scoring.py, answering.py, validity.py: did
                    each switch take effect?
what it stands on   env/: tasks, tools, users    users/: users that are models    policy/: checkpoints
                    backend/: served and trained    engine/: vLLM and the trainer behind `backend=shared`
                    machine/: GPUs, environments    records/: files of a sweep, and the store of results
many runs           sweep/: plan, parts, progress    launch/: Hydra's sweeper and launchers, engines, the command line
while it runs       live/: `harness watch`, the report's page of a sweep that is under way
somebody's loop     probe/: symptoms, each with what was measured and a verdict
by a third party    replay/: a share of a sweep computed again, and compared
afterwards          stats/: effects, claims    report/: table, page, figures    tracking/: W&B, a view of the records
in a notebook       `harness.load("results/<sweep>")`: report/frames.py
the door            __main__.py, commands.py; printed.py: what --json prints; paths.py; errors.py, disk.py: what goes
                    wrong; endings.py: how a command ends; child_process.py, heartbeat.py, log_stream.py: our processes,
                    their hangs and their logs

Who may know what: launch -> sweep -> loop -> {rollout, validation, backend, env} -> records; fixes -> answering ->
seams; report -> stats -> {records, designs}. The loop knows seams and never a fix. Environments know no policy.
Statistics, reports and records load no torch, art or vllm. tests/test_imports.py holds the list, imports in functions
included.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.frames import Sweep


def load(folder: "Path | str") -> "Sweep":
    """A sweep as pandas frames; docs/notebook.md shows it. Raises ConfigError where the folder holds no sweep."""
    from harness.report.frames import Sweep

    return Sweep(folder)
