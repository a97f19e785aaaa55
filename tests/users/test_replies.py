"""What a user model said is found again: asked for once, first come where several ask, anew where damaged."""

import asyncio

import pytest

from harness.users.replies import Replies

KEY = "ab" + 30 * "0"


def asks(*texts, pause=0.0):
    left, asked = list(texts), []

    async def ask():
        asked.append(1)
        await asyncio.sleep(pause)
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    return ask, asked


def get(folder, ask, reuse=True):
    return asyncio.run(Replies(folder, reuse).get(KEY, ask))


def test_a_message_is_asked_for_once(tmp_path):
    ask, asked = asks("A lamp.", "Another.")
    assert [get(tmp_path, ask) for _ in range(2)] == [("A lamp.", True), ("A lamp.", False)]
    assert len(asked) == 1
    assert not [path for path in tmp_path.rglob(".new-*")]


def test_who_asks_for_one_that_is_under_way_waits_for_it(tmp_path):
    ask, asked = asks("A lamp.", "Another.", pause=0.02)

    async def both():
        replies = Replies(tmp_path, True)
        return await asyncio.gather(*(replies.get(KEY, ask) for _ in range(3)))

    assert asyncio.run(both()) == [("A lamp.", True), ("A lamp.", False), ("A lamp.", False)]
    assert len(asked) == 1


def test_after_a_failure_the_next_one_asks(tmp_path):
    ask, asked = asks(RuntimeError("lost"), "A lamp.", pause=0.02)

    async def both():
        replies = Replies(tmp_path, True)
        return await asyncio.gather(*(replies.get(KEY, ask) for _ in range(2)), return_exceptions=True)

    lost, said = asyncio.run(both())
    assert isinstance(lost, RuntimeError) and said == ("A lamp.", True) and len(asked) == 2


def test_of_two_processes_that_ask_at_once_both_go_on_with_what_was_stored_first(tmp_path):
    async def slower():
        assert get_first.result() == "A lamp."
        return "Another."

    async def race():
        nonlocal get_first
        get_first = asyncio.get_running_loop().create_future()

        async def late():
            said, _ = await Replies(tmp_path, True).get(KEY, asks("A lamp.")[0])  # another process
            get_first.set_result(said)
            return await slower()

        return await Replies(tmp_path, True).get(KEY, late)

    get_first = None
    assert asyncio.run(race()) == ("A lamp.", True)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"text": ', b"\xff"])
def test_a_damaged_file_is_asked_for_anew(damage, tmp_path):
    get(tmp_path, asks("A lamp.")[0])
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    path.write_bytes(damage)
    assert get(tmp_path, asks("Anew.")[0]) == ("Anew.", True)
    assert get(tmp_path, asks("Never.")[0]) == ("Anew.", False)


def test_without_reuse_nothing_is_read_or_written(tmp_path):
    ask, _ = asks("1", "2")
    assert [get(tmp_path, ask, reuse=False) for _ in range(2)] == [("1", True), ("2", True)]
    assert not [*tmp_path.iterdir()]
