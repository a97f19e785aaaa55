"""`harness replay` on a small sweep that stands beside a stand-in for vLLM's server, and what it refuses."""

import hashlib
import json
from pathlib import Path

import pytest

from harness.commands import run_command
from harness.errors import ConfigError, Exit
from harness.launch.in_process import train_here
from harness.launch.replay_command import Wish, recorded_config, replayed
from harness.records.layout import SweepFiles
from harness.replay.findings import EPISODES, LINES, UPDATES
from harness.sweep.plan import prepare

TINY = [
    *(
        "sweep=tiny",
        "factors=[logprobs,reward]",
        "train.steps=1",
        "train.groups_per_step=3",
        "train.rollouts_per_group=4",
    ),
    *("train.val_tasks=50", "validation.max_tasks=6", "backend.device=cpu", "backend.in_flight=16", "tracking=off"),
]


def rewritten(path, change):
    """A stored entry with another value, whose checksum is right."""
    head, _, value = path.read_bytes().partition(b"\n")
    value = change(value)
    header = json.loads(head) | {"sha256": hashlib.sha256(value).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + value)


def one_weight_more(value):
    """The stored update with another last weight of its adapter (float32; the moments follow it)."""
    head, _, rest = value.partition(b"\n")
    end = json.loads(head)["adapter"]
    return head + b"\n" + rest[: end - 4] + b"\0\0\x80\x3f" + rest[end:]


@pytest.mark.engine
def test_a_share_is_computed_again_and_each_planted_fault_is_named(stand_in, sweep_config, monkeypatch):
    for name, value in stand_in.items():
        monkeypatch.setenv(name, value)
    sweep = prepare(sweep_config(*TINY, runs=[(), [f"fix/{name}=off" for name in ("logprobs", "reward")]]))
    train_here(sweep, sweep.config.runs)
    folder, (on, off) = sweep.folder, [each.run.name for each in sweep.config.runs]
    (update,) = folder.glob(f"store/{UPDATES}/*/*")
    rewritten(update, one_weight_more)
    lines = folder / f"runs/{off}/validation.jsonl"
    lines.write_text(lines.read_text().replace('"reported": {"mean": ', '"reported": {"mean": 1', 1))
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    found = replayed(folder, Wish(share=1.0))
    assert not found.agrees and found.mode == "store"
    assert [(each.kind, each.place) for each in found.differences] == [
        (UPDATES, f"{update.name} of {on}"),
        (LINES, f"{off}, validation 0"),
    ]
    weights, reported = (each.detail for each in found.differences)
    assert "of what such an update may move one" in weights and "reported.mean: 1" in reported
    assert found.drawn[UPDATES] == (1, 1) and found.drawn[EPISODES][0] == found.drawn[EPISODES][1] > 30
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


REFUSED = {
    "shares=.1": "No option of a replay is called 'shares'. Did you mean 'share'?",
    "share=a": "share is 'a'; expected a number, such as share=.05",
    "share=0": "share is 0; expected more than 0 and at most 1",
    "steps=0": "steps is 0; expected 1 or more",
    "train.steps=3": "No option of a replay is called 'train.steps'",
}


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_a_replay_has_not_is_refused(option):
    with pytest.raises(ConfigError, match=REFUSED[option].replace("?", r"\?")):
        Wish.of([option])


def test_a_folder_without_a_sweep_is_refused(tmp_path, capsys):
    assert run_command("replay", [str(tmp_path)]) == Exit.WRONG_INPUT
    assert "holds no sweep" in capsys.readouterr().err


ARCHIVED = sorted(path.parent for path in (Path(__file__).parents[2] / "results").glob("*/records.jsonl.xz"))


@pytest.mark.parametrize("folder", ARCHIVED, ids=lambda path: path.name)
def test_a_committed_sweep_keeps_the_configuration_of_each_run(folder, tmp_path):
    files = SweepFiles(folder)
    runs = list(files.plan().values())
    made = recorded_config(files, runs, tmp_path, Wish())
    assert [each.run.name for each in made.runs] == [each.run for each in runs]
