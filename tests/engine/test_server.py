"""The server as its users meet it, with a stand-in process instead of vLLM."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import heartbeat
from harness.engine import server_process
from harness.engine.server import Server, ServerConfig
from harness.errors import ConfigError, EngineError
from harness.machine import environments

FAKE = Path(__file__).with_name("fake_vllm.py")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(mode) -> a Server whose process is the stand-in."""
    monkeypatch.setattr(environments, "ensure_server_env", lambda gpu: Path(sys.executable))

    def made(mode: str = "ok", **changes) -> Server:
        monkeypatch.setattr(
            server_process, "command", lambda config, python, port: [str(python), str(FAKE), str(port), mode]
        )
        fields = dict(path=tmp_path, name="base", tool_parser="hermes", max_model_len=64, dtype="float32")
        fields |= dict(lora_rank=8, max_loras=3, log=tmp_path / "server.log")
        return Server(ServerConfig(**fields | changes))

    return made


def test_a_port_in_use_is_a_config_error_before_anything_starts(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} .* cannot be used"):
            make(port=port)


def test_a_server_that_dies_at_start_is_reported_with_its_own_words(make, tmp_path):
    async def scenario():
        async with make("dies"):
            pass

    with pytest.raises(EngineError, match="this model has no tokenizer") as caught:
        asyncio.run(scenario())
    assert str(tmp_path / "server.log") in str(caught.value)


def test_a_server_that_never_listens_is_given_up(make):
    async def scenario():
        async with make("silent", start_timeout=0.5):
            pass

    with pytest.raises(EngineError, match="not ready after 0 s|not ready after 1 s"):
        asyncio.run(scenario())


def test_after_its_death_every_call_says_so(make, tmp_path):
    async def scenario():
        async with make() as server:
            await server.load("a", tmp_path / "a")
            with pytest.raises(EngineError, match="out of cheese"):
                await server._post("completions", {"prompt": "die"})
            for call in (server.check_base(), server.load("b", tmp_path / "b"), server.unload("a")):
                with pytest.raises(EngineError, match="ended"):
                    await call
            with pytest.raises(EngineError, match="ended"):
                server.assert_alive()

    asyncio.run(scenario())


def test_a_base_that_answers_otherwise_fails_the_check(make):
    async def scenario():
        async with make("drifts") as server:
            with pytest.raises(EngineError, match="no longer answers as it did at start"):
                await server.check_base()
        async with make("ok") as server:
            await server.check_base()

    asyncio.run(scenario())


def test_what_the_base_rounds_by_at_start_is_allowed_later_up_to_a_limit(make):
    async def scenario():
        async with make("rounds", dtype="bfloat16") as server:
            assert await server.check_base() == pytest.approx(0.05)
        async with make("unsteady", dtype="bfloat16") as server:
            with pytest.raises(EngineError, match=r"moved by 0\.3 nats on average \(allowed: 0\.1\)"):
                await server.check_base()

    asyncio.run(scenario())


def test_one_slot_stays_spare_and_a_refused_adapter_is_an_error(make, tmp_path):
    async def scenario():
        async with make() as server:
            for name in "abcd":
                async with server.lease(name, tmp_path / name):
                    pass
            assert list(server.adapters.loaded) == ["c", "d"]  # max_loras is 3
            with pytest.raises(EngineError, match="No adapter found"):
                await server.load("e", tmp_path / "missing")

    asyncio.run(scenario())


def test_the_api_key_is_random_and_not_on_the_command_line(make):
    server, other = make(), make()
    assert server.api_key != other.api_key
    argv = server_process.command(server.config, Path("python"), server.port)
    assert not any(server.api_key in word for word in argv)


@pytest.fixture
def squatter():
    """squatter(port, address, share) -> a socket that listens there. None of them may be connected to."""
    listening = []

    def squat(port, address="127.0.0.1", share=False):
        squatted = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if share:
            squatted.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        squatted.bind((address, port))
        squatted.listen()
        squatted.setblocking(False)
        listening.append(squatted)

    yield squat
    for each in listening:
        with pytest.raises(BlockingIOError):
            each.accept()
        each.close()


# the last one is what a program binds that serves IPv6 and IPv4
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("mode", ["silent", "ok"])
def test_who_took_the_port_before_the_server_is_sent_nothing(make, squatter, address, mode):
    async def scenario():
        server = make(mode, start_timeout=20)
        squatter(server.port, address)
        async with server:
            pass

    with pytest.raises(EngineError, match="Another program listens on port|server ended"):
        asyncio.run(scenario())


def test_who_shares_the_port_with_the_server_is_sent_nothing(make, squatter):
    async def scenario():
        server = make("shares", start_timeout=20)
        squatter(server.port, share=True)
        async with server:
            pass

    with pytest.raises(EngineError, match="Another program listens on port"):
        asyncio.run(scenario())


def test_who_shares_the_port_later_is_sent_nothing_more(make, squatter, tmp_path):
    async def scenario():
        async with make("shares") as server:
            squatter(server.port, share=True)
            with pytest.raises(EngineError, match="Another program listens on port"):
                await server.load("a", tmp_path / "a")

    asyncio.run(scenario())


def test_a_listener_that_no_request_of_ours_reaches_does_no_harm(make, squatter, tmp_path):
    async def scenario():
        server = make()
        squatter(server.port, "127.0.0.2")
        async with server:
            await server.load("a", tmp_path / "a")

    asyncio.run(scenario())


def test_the_servers_own_client_knows_no_proxy(make, monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def scenario():
        async with make() as server:
            await server.load("a", tmp_path / "a")

    asyncio.run(scenario())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_harness(tmp_path, how):
    parent = start_a_harness(tmp_path)
    group = guard_of(parent.pid)
    until(lambda: len(members(group)) == 3)  # guard, server, the server's child
    parent.send_signal(how)
    parent.wait(10)
    until(lambda: not members(group))


def test_the_servers_sockets_go_with_it(tmp_path):
    parent = start_a_harness(tmp_path)
    group = guard_of(parent.pid)
    until(lambda: list(tmp_path.glob("harness-vllm-*/socket")))
    parent.kill()
    parent.wait(10)
    until(lambda: not members(group))
    assert not list(tmp_path.glob("harness-vllm-*"))


def start_a_harness(tmp_path) -> subprocess.Popen:
    """A process that has started a server and waits."""
    port = server_process.choose_port(None)
    script = (
        "import sys, time; from pathlib import Path; from harness.engine.server_process import ServerProcess\n"
        f"command, env = [sys.executable, {str(FAKE)!r}, '{port}', 'ok'], {{'TMPDIR': {str(tmp_path)!r}}}\n"
        f"ServerProcess(command, env, Path({str(tmp_path / 'log')!r}))\n"
        "print('started', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with parent.stdout:
        parent.stdout.readline()
    return parent


@pytest.fixture
def impatient(monkeypatch):
    """The times after which a silent server is spoken of and given up, as fractions of a second."""
    for name, seconds in {
        "HEARTBEAT": 0.05,
        "LOOK": 0.05,
        "SILENCE": 0.3,
        "IDLE_LIMIT": 0.6,
        "BUSY_LIMIT": 30.0,
    }.items():
        monkeypatch.setattr(heartbeat, name, seconds)


def test_a_server_that_hangs_is_spoken_of_then_ended_and_everybody_is_told(make, impatient, tmp_path):
    notes = []

    async def scenario():
        async with make() as server:
            server.note = notes.append
            os.kill(int(await server_says(server, "pid")), signal.SIGSTOP)
            with pytest.raises(EngineError, match="gave no answer for .* and was ended"):
                await server.load("a", tmp_path / "a")  # as anybody who waits for it
            with pytest.raises(EngineError, match="gave no answer"):
                server.assert_alive()
            return server._process._guard.pid

    group = asyncio.run(scenario())
    assert not members(group)
    assert len(notes) == 1 and notes[0].startswith("the vLLM server has given no answer for 0 s")


def test_a_server_that_computes_is_waited_for_and_its_return_is_said(make, impatient):
    notes = []

    async def scenario():
        async with make() as server:
            server.note = notes.append
            await server._post("completions", {"prompt": "compile"})
            await until_async(lambda: len(notes) == 2)
            server.assert_alive()

    asyncio.run(scenario())
    assert "is busy: it may be compiling" in notes[0]
    assert "answers again" in notes[1]


def test_time_in_which_nobody_looked_is_not_held_against_the_server(make, impatient):
    """As after Ctrl-Z and fg."""

    async def scenario():
        async with make() as server:
            pid = int(await server_says(server, "pid"))
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.2)  # a sign of life has been asked for
            time.sleep(1.5)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.2)
            server.assert_alive()

    asyncio.run(scenario())


@pytest.mark.parametrize("first", ["guard", "harness", "both"])
def test_whoever_is_killed_first_nothing_is_left(tmp_path, first):
    """Of the server itself; its children see to themselves (test_server_real.py)."""
    parent = start_a_harness(tmp_path)
    group = guard_of(parent.pid)
    until(lambda: len(members(group)) == 3)
    server = children_of(group)[0]
    for pid in {"guard": [group], "harness": [parent.pid], "both": [group, parent.pid]}[first]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: server not in members(group))
    parent.kill()
    parent.wait(10)
    for pid in members(group):
        os.kill(pid, signal.SIGKILL)


def test_a_stopped_server_has_left_nothing_even_if_its_guard_was_killed(make):
    async def scenario():
        async with make() as server:
            group = server._process._guard.pid
            os.kill(group, signal.SIGKILL)
        assert not members(group)

    asyncio.run(scenario())


async def server_says(server, what: str) -> str:
    answer = await server._post("completions", {"prompt": what})
    return answer.json()["choices"][0]["text"]


def guard_of(parent: int) -> int:
    return children_of(parent)[0]


def children_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    alive = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == group and "(zombie)" not in (entry / "status").read_text():
                alive.append(int(entry.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return alive


async def until_async(condition, seconds: float = 10) -> None:
    await asyncio.to_thread(until, condition, seconds)


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
