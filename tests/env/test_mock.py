"""The generator of mock tasks: deterministic, every kind in both splits, no test task among the training tasks."""

from collections import Counter

from harness.env import load_domain, mock


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others():
    assert load_domain("mock").digest == load_domain("mock").digest
    assert load_domain("mock", seed=1).digest != load_domain("mock").digest


def test_more_tasks_leave_the_first_ones_as_they_are():
    few, many = load_domain("mock", tasks=40), load_domain("mock", tasks=80)
    assert all(few.task_digest(i) == many.task_digest(i) for i in few.task_ids)
    assert few.digest != many.digest


def test_both_splits_hold_every_kind_equally_often():
    kinds = [variant.kind for variant in mock.variants(75, 0)]
    assert set(Counter(kinds[:30]).values()) == {2}
    assert set(Counter(kinds[30:]).values()) == {3}


def test_the_tasks_of_a_kind_are_a_group():
    domain = load_domain("mock")
    kinds = dict(zip(domain.task_ids, (variant.kind for variant in mock.variants(75, 0)), strict=True))
    groups = {(kinds[task], group) for task, group in domain.task_groups.items()}
    assert set(domain.task_groups) == set(domain.task_ids) and len(groups) == len(mock.KINDS) == 15
    assert set(load_domain("mock", only=["mock_000", "mock_031"]).task_groups) == {"mock_000", "mock_031"}


def test_no_two_tasks_open_alike():
    domain = load_domain("mock")
    assert len({domain.start(i).first for i in domain.task_ids}) == len(domain.task_ids)


def test_a_created_task_gets_the_id_that_the_user_is_to_be_told():
    domain = load_domain("mock")
    for variant, task_id in zip(mock.variants(75, 0), domain.task_ids, strict=True):
        episode = domain.start(task_id)
        for request in variant.requests:
            action = mock.gold_action(request, "")
            answer = episode.call_tool("call", action.name, action.arguments)
            if request.verb in ("create", "complete", "reopen"):
                assert f'"task_id": "{request.task_id}", "title": "{request.title}"' in answer


def test_a_second_request_comes_after_the_first_answer():
    domain = load_domain("mock")
    task_id = domain.task_ids[mock.KINDS.index("complete / create")]
    episode = domain.start(task_id)
    assert "create" not in episode.first
    assert "task" in episode.answer("All done.")
    assert episode.answer("All done.") is None
