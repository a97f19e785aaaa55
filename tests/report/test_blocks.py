"""The report of a sweep with blocks says of which one it speaks, and what the others do."""

import io

import pytest
from rich.console import Console

from harness.records.load import load_sweep
from harness.report import formats
from harness.report.arm_rows import arm_rows
from harness.report.arm_table import print_report
from harness.report.block_section import block_section
from harness.report.markdown import markdown
from harness.report.page import page, write_report
from harness.report.verdict import verdict_sentences
from harness.stats.effects import analyse
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import make_invalid, write_sweep

RATES = {"learning_rate=0.2": 0.2, "learning_rate=1": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sweep(
        tmp_path_factory.mktemp("results") / "s", seeds=range(3), blocks=RATES, main_block="learning_rate=1"
    )


@pytest.fixture(scope="module")
def sweep(folder):
    return load_sweep(folder)


@pytest.fixture(scope="module")
def found(sweep):
    return statistics_of(sweep)


def printed(sweep):
    console = Console(file=io.StringIO(), width=160)
    print_report(sweep, console)
    return console.file.getvalue()


@pytest.mark.usefixtures("undrawn")
def test_the_head_and_the_verdict_name_the_block(sweep, found):
    line = "without naming a block is of learning rate 1.0. Beside it stand the blocks learning rate 0.2."
    for text in (markdown(sweep, found), page(sweep, found), " ".join(printed(sweep).split())):
        assert line in text and "8 arms, 2 blocks, 48 runs" in text
        assert "At learning rate 1.0: With all fixes on the policy goes from" in text
    slow = sweep.of_block("learning_rate=0.2")
    assert verdict_sentences(slow, analyse(slow))[0].startswith("At learning rate 0.2: ")


def test_a_sweep_without_blocks_speaks_of_none(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "plain"))
    text = markdown(sweep, statistics_of(sweep)) + printed(sweep)
    assert "block" not in text and "At learning" not in text


def test_every_table_of_arms_has_a_row_for_each_arm_in_each_block(sweep, found):
    rows = arm_rows(sweep)
    assert [row.block for row in rows] == ["learning_rate=0.2"] * 8 + ["learning_rate=1"] * 8
    assert {row.seeds for row in rows} == {(0, 1, 2)}
    slow, fast = (row for row in rows if row.arm == "all_on")
    assert slow.last < fast.last
    table = [line for line in markdown(sweep, found).splitlines() if line.startswith("| all_on | learning rate")]
    assert [line.split(" | ")[1] for line in table] == ["learning rate 0.2", "learning rate 1.0"]
    shown = [line for line in printed(sweep).splitlines() if line.startswith("all_on ")]
    assert ["learning rate 0.2" in line for line in shown] == [True, False] and "learning rate 1.0" in shown[1]


@pytest.mark.usefixtures("undrawn")
def test_the_section_has_each_effect_in_each_block_and_their_differences(sweep, found):
    section = block_section(sweep, found.blocks)
    (_, blocks), (_, effects), (_, differences) = section.grids
    assert [row[:2] for row in blocks.rows] == [
        ("learning rate 0.2", "24 of 24"),
        ("learning rate 1.0 (main)", "24 of 24"),
    ]
    assert effects.heads == ("fix", "learning rate 0.2", "learning rate 1.0")
    gate = next(row for row in effects.rows if row[0] == "exploration")
    assert "raises reward" in gate[2]
    split = next(row for row in differences.rows if row[0] == "split")
    assert split[1:4] == ("learning rate 0.2", "alike", "0.000")
    assert {row[0] for row in differences.rows} == set(sweep.factors)
    said = (
        "The leave-one-out effect on the final reference reward is another one than at learning rate 1.0 for endpoint"
    )
    assert section.sentences[0].startswith(f"{said} at learning rate 0.2 (−0.")
    for text in (markdown(sweep, found), page(sweep, found)):
        assert "By block" in text and "differences from learning rate 1.0" in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_another_block_that_is_invalid_is_not_missed(tmp_path):
    folder = write_sweep(tmp_path / "s", blocks=RATES, main_block="learning_rate=1")
    make_invalid(folder, "without_tools/learning_rate=0.2", "tools", "was on")
    sweep = load_sweep(folder)
    found = statistics_of(sweep)
    for text in (markdown(sweep, found), page(sweep, found), printed(sweep)):
        assert "without_tools/learning_rate=0.2/seed=0" in text and "was on" in text
    assert found.effects.counted == 8


def test_the_report_is_written(folder, sweep):
    assert write_report(sweep).stat().st_size > 10_000
    assert (folder / "figures" / "curves.png").exists()


def test_several_options_are_named_in_words(sweep):
    options = {"train.loss": "ppo", "train.epsilon": None, "policy": "micro", "policy.lora_rank": 4}
    sweep.manifest["blocks"]["x"] = {"options": options}
    assert formats.block(sweep, "x") == "loss ppo, epsilon null, policy micro, lora rank 4"
    del sweep.manifest["blocks"]["x"]
