"""Players in processes play as a player in this process does, and their end is noticed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

from harness.env import load_domain
from harness.episode_player import EpisodePlayer, Job, Sampling
from harness.errors import EngineError
from harness.player_pool import TRIES, PlayerPool

ANSWERS = Path(__file__).parent.parent / "experiments" / "benchmarks" / "answers.py"
LOAD = partial(load_domain, "mock", tasks=40)


@cache
def domain():
    return LOAD()


@contextmanager
def server():
    """Base URL of a server that answers at once."""
    argv = [sys.executable, str(ANSWERS), "--tools", "1", "--prompt", "20", "--output", "3"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


def jobs(url, count):
    sampling = Sampling(1.0, 32, 6)
    return [Job(url, "key", "hosted_vllm/p@1", f"mock_{i:03d}", sampling, i, True) for i in range(count)]


def test_processes_play_what_one_player_plays_and_end_when_they_are_closed(tmp_path):
    async def both(url):
        here = EpisodePlayer(domain(), 8)
        there = PlayerPool(2, LOAD, domain().digest, 8, tmp_path / "players.log")
        try:
            played = await asyncio.gather(*(there.play(job) for job in jobs(url, 10)))
            expected = await asyncio.gather(*(here.play(job) for job in jobs(url, 10)))
            pids = [each.pid for each in there.processes]
            # an interrupt at the terminal reaches its whole session: players must not be in ours
            assert os.getsid(0) not in {os.getsid(pid) for pid in pids}
            # who plays episodes needs no torch: each process would load it for itself
            assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)
        finally:
            await there.close()
        return played, expected, pids

    with server() as url:
        played, expected, pids = asyncio.run(both(url))
    assert [replace(e, seconds=0.0) for e in played] == [replace(e, seconds=0.0) for e in expected]
    assert len(set(pids)) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_process_that_dies_is_replaced_and_its_jobs_are_played(tmp_path):
    async def play(url):
        notes = []
        players = PlayerPool(1, LOAD, domain().digest, 8, tmp_path / "players.log", notes.append)
        await players.start()
        os.kill(players.processes[0].pid, signal.SIGKILL)
        try:
            return await asyncio.gather(*(players.play(job) for job in jobs(url, 3))), notes
        finally:
            await players.close()

    with server() as url:
        played, (note,) = asyncio.run(play(url))
    assert [episode.task_id for episode in played] == [job.task_id for job in jobs("", 3)]
    assert re.search(r"player process ended \(status -9\).*players\.log.*Another one starts\.$", note)


class Lost:
    """A process that is there until it is asked."""

    alive, open = True, ()

    async def start(self, greeting):
        return domain().digest

    async def ask(self, job):
        self.alive = False
        raise EngineError("gone")

    async def close(self):
        pass


def test_a_job_that_loses_its_processes_is_given_up(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("harness.player_pool.ChildProcess", lambda *_: made.append(Lost()) or made[-1])
    players = PlayerPool(1, LOAD, domain().digest, 8, tmp_path / "players.log")
    with pytest.raises(EngineError, match="gone"):
        asyncio.run(players.play(jobs("", 1)[0]))
    assert len(made) == TRIES


def test_a_pool_that_is_closed_starts_no_process_for_what_was_still_played(tmp_path, monkeypatch):
    """As when an engine is lost: the next one brings players of its own."""
    made, notes = [], []

    class Closing(Lost):
        def __init__(self):
            self.ended, self.asked = asyncio.Event(), asyncio.Event()

        async def ask(self, job):
            self.asked.set()
            await self.ended.wait()
            self.alive = False
            raise EngineError("gone")

        async def close(self):
            self.ended.set()

    async def close_while_playing():
        players = PlayerPool(2, LOAD, domain().digest, 8, tmp_path / "players.log", notes.append)
        playing = [asyncio.create_task(players.play(job)) for job in jobs("", 2)]
        await made[0].asked.wait()
        await players.close()
        return await asyncio.gather(*playing, return_exceptions=True)

    monkeypatch.setattr("harness.player_pool.ChildProcess", lambda *_: made.append(Closing()) or made[-1])
    failed = asyncio.run(close_while_playing())
    assert [str(one) for one in failed] == ["gone", "gone"]
    assert len(made) == 2
    assert notes == []


def test_a_process_with_another_domain_is_refused(tmp_path):
    async def start():
        await PlayerPool(1, LOAD, "another digest", 8, tmp_path / "players.log").start()

    with pytest.raises(EngineError, match="another domain"):
        asyncio.run(start())
