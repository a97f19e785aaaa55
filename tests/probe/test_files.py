"""Rollouts are read from files as ART, verifiers and TRL write them, and from plain chat."""

import json
from pathlib import Path

import pytest
from art.utils.trajectory_logging import write_trajectory_groups_parquet
from pyarrow import Table, parquet

from harness.errors import ConfigError
from harness.probe import check, material_of
from harness.probe.files import read
from tests.probe.test_door import of_art

CHAT = [{"role": "user", "content": "Add 1 and 2."}, {"role": "assistant", "content": "3"}]


def rollouts(path):
    kind, rows = read(path)
    return kind, [list(group) for group in material_of(rows).groups]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_arts_parquet_as_art_writes_it(tmp_path):
    write_trajectory_groups_parquet(of_art(step=2), path := tmp_path / "0002.parquet")
    kind, groups = rollouts(path)
    assert kind == "ART's parquet"
    assert [[(r.task, r.step, round(r.reward, 2), r.said) for r in group] for group in groups] == [
        [(task, 2, reward, (1, 2)) for reward in (0.0, 0.2, 0.4)] for task in "ab"
    ]
    assert groups[0][0].tools and groups[0][0].calls_tools
    assert {f.symptom: f.verdict for f in check(read(path)[1])}["logprobs_missing"] == "cannot tell"


def test_arts_json_lines_as_its_objects_dump_themselves(tmp_path):
    path = written(tmp_path / "groups.jsonl", [json.loads(group.model_dump_json()) for group in of_art()])
    kind, groups = rollouts(path)
    assert (kind, [len(group) for group in groups]) == ("ART's groups", [3, 3])
    assert [turn.output_ids for turn in groups[0][1].turns] == [(7, 9), (9,)]
    logged = [t.for_logging() for group in of_art() for t in group.trajectories]
    kind, groups = rollouts(written(tmp_path / "logged.jsonl", logged))
    assert (kind, [r.said for r in groups[0]]) == ("chat", [(1, 2)] * 3)


def test_one_json_file_may_hold_a_list_or_one_group(tmp_path):
    dumped = [json.loads(group.model_dump_json()) for group in of_art()]
    (tmp_path / "a.json").write_text(json.dumps(dumped))
    (tmp_path / "b.json").write_text(json.dumps(dumped[0]))
    assert [len(rollouts(tmp_path / name)[1]) for name in ("a.json", "b.json")] == [2, 1]


def test_verifiers_results(tmp_path):
    rows = [
        {"example_id": e, "task": "adding", "prompt": CHAT[:1], "completion": CHAT[1:], "answer": "3", "reward": r}
        for e in (7, 8)
        for r in (0.0, 1.0)
    ]
    kind, groups = rollouts(written(tmp_path / "results.jsonl", rows))
    assert kind == "verifiers' results"
    assert [[(r.task, r.reward, r.said) for r in group] for group in groups] == [
        [(task, 0.0, (1,)), (task, 1.0, (1,))] for task in ("7", "8")
    ]


def test_verifiers_results_with_tokens_and_a_rollout_that_raised(tmp_path):
    step = {
        "prompt": CHAT[:1],
        "completion": CHAT[1:],
        "tokens": {"prompt_ids": [1, 5], "completion_ids": [6, 2], "completion_logprobs": [-0.5, -0.1]},
    }
    rows = [
        {"example_id": 1, "prompt": CHAT[:1], "completion": CHAT[1:], "reward": 1.0, "trajectory": [step]},
        {"example_id": 1, "prompt": CHAT[:1], "completion": [], "reward": 0.0, "trajectory": [], "error": {"e": "x"}},
    ]
    _, [[first, second]] = rollouts(written(tmp_path / "results.jsonl", rows))
    assert (first.turns[0].prompt_ids, first.turns[0].output_ids) == ((1, 5), (6, 2))
    assert first.turns[0].logprobs == (-0.5, -0.1) and first.error is None
    assert second.error == "{'e': 'x'}" and second.said == ()


def test_verifiers_traces_are_read_branch_by_branch(tmp_path):
    reply = {"parent": 0, "message": CHAT[1], "sampled": True}
    nodes = [
        {"message": CHAT[0], "token_ids": [1, 5], "mask": [False, False]},
        reply | {"token_ids": [9, 6, 2], "mask": [False, True, True], "logprobs": [-0.5, -0.1]},
        reply | {"token_ids": [9, 7], "mask": [False, True], "logprobs": [-1.0]},
    ]
    trace = {
        "task": {"type": "Add", "data": {"idx": 3}},
        "nodes": nodes,
        "calls": [{"node": 1, "model": "p@4", "finish_reason": "stop", "sampling": {"temperature": 1.0}}],
        "rewards": {"right": {"score": 1.0, "weight": 0.5}, "short": {"score": 0.2}},
        "stop_condition": "done",
        "errors": [],
    }
    row = {"traces": [trace], "group": {"id": "g"}, "run": {"work": {"type": "train", "step": 4}}}
    kind, [[first, second]] = rollouts(written(tmp_path / "traces.jsonl", [row]))
    assert kind == "verifiers' traces"
    assert (first.task, first.step, first.reward, first.end) == ("3", 4, 0.7, "done")
    turn = first.turns[0]
    assert (turn.prompt_ids, turn.output_ids, turn.logprobs) == ((1, 5, 9), (6, 2), (-0.5, -0.1))
    assert (turn.model, turn.finish_reason, turn.temperature) == ("p@4", "stop", 1.0)
    assert (first.trained_ids, first.trained_mask) == ((1, 5, 9, 6, 2), (False, False, False, True, True))
    assert second.trained_ids == (1, 5, 9, 7)


def test_trls_completions_are_grouped_by_prompt_and_their_rewards_added(tmp_path):
    rows = [
        {
            "step": 1,
            "prompt": p,
            "completion": f"c{n}",
            "right_reward": float(n),
            "short_reward": 0.5,
            "advantage": n - 0.5,
        }
        for p in ("a", "b")
        for n in (0, 1)
    ]
    parquet.write_table(Table.from_pylist(rows), path := tmp_path / "completions_00001.parquet")
    kind, groups = rollouts(path)
    assert kind == "TRL's completions"
    assert [[(r.reward, r.advantage, r.step) for r in group] for group in groups] == [
        [(0.5, -0.5, 1), (1.5, 0.5, 1)]
    ] * 2


def test_plain_chat_is_grouped_by_what_opens_it(tmp_path):
    other = [{"role": "user", "content": "Add 2 and 2."}, {"role": "assistant", "content": "4"}]
    rows = [{"messages": m, "reward": r} for m, r in ((CHAT, 1.0), (other, 0.0), (CHAT, 0.0))]
    kind, groups = rollouts(written(tmp_path / "chat.jsonl", rows))
    assert (kind, [[r.reward for r in group] for group in groups]) == ("chat", [[1.0, 0.0], [0.0]])
    assert {r.tools for group in groups for r in group} == {None} and "tools" not in groups[0][0].keeps


OUTSIDE = Path(__file__).parent / "outside"  # the programs there say how their files were written


def test_a_file_that_verifiers_has_written():
    kind, groups = rollouts(OUTSIDE / "verifiers_0.4.0.jsonl")
    assert (kind, [[r.task for r in group] for group in groups]) == ("verifiers' traces", [["5"] * 4, ["6"] * 4])
    assert [(r.reward, r.advantage, r.error is None) for r in groups[0]] == [
        *((n / 2 + 0.25, (n - 1) * 1.5, True) for n in range(3)),
        (None, None, False),
    ]
    first = groups[0][0]
    assert (first.step, first.turns[1].prompt_ids) == (4, (1, 11, 12, 9, 21, 22, 2, 13, 14, 9))
    found = {f.symptom: f.verdict for f in check(read(OUTSIDE / "verifiers_0.4.0.jsonl")[1], exact=True)}
    assert "present" not in found.values()
    told = {name for name, verdict in found.items() if verdict == "absent"}
    assert told >= {"context_not_served", "trainer_and_sampler_disagree", "eos_never_trained", "exceptions_scored"}


def test_a_file_that_trl_has_written():
    kind, groups = rollouts(OUTSIDE / "trl_1.16.0.parquet")
    assert (kind, [len(group) for group in groups]) == ("TRL's completions", [4, 4])
    for group in groups:
        assert {r.messages[0]["content"] for r in group} == {group[0].messages[0]["content"]}
        assert sum(r.advantage for r in group) == pytest.approx(0, abs=1e-5)
        assert all(r.reward > 0 and r.step == 2 and r.said == (1,) for r in group)
    found = {f.symptom: f.verdict for f in check(read(OUTSIDE / "trl_1.16.0.parquet")[1])}
    assert "present" not in found.values()
    assert found["advantages_against_rewards"] == found["no_group_spreads"] == "absent"


REFUSED = {
    "no file": (None, "cannot be read: No such file or directory."),
    "nothing": (b"", "holds no rollout."),
    "no JSON": (b'{"messages": []}\n{oops\n', "line 2 is no JSON:"),
    "no text": (b"\xff\xfe\x00", "is neither parquet nor JSON in UTF-8: byte 0 is no text."),
    "other rows": (b'{"a": 1, "b": 2}\n', "its first row has a, b. Known are ART's trajectories"),
    "numbers": (b"[1, 2]", "its first row has int."),
    "cut parquet": (b"PAR1 and no more", "is a damaged parquet file:"),
}


@pytest.mark.parametrize(("raw", "said"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_rollouts_is_refused_in_a_sentence(raw, said, tmp_path):
    path = tmp_path / "file"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert str(refused.value).startswith(str(path)) and said in str(refused.value)
