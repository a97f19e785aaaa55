"""Every command prints one JSON object with --json, and nothing else on stdout; docs/records.md has its keys."""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness.commands import COMMANDS, run_command
from harness.launch import certificate as certificate_command
from harness.launch.completion import BASH
from harness.machine import certificate, environments, pack_command, setup
from harness.machine.certificate import Certificate, Difference
from harness.paths import CLONE
from harness.policy import POLICIES, hub
from harness.printed import PRINTED, printed
from harness.tracking.dashboard import command as dashboard_command
from tests.records.test_schema_page import printed_keys
from tests.synthetic import leave_one_out, write_sweep
from tests.tracking.test_tracking import needs_core


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


@pytest.fixture
def said(capsys):
    """What a command prints, held against its line of the page."""

    def ask(name, *arguments, page):
        capsys.readouterr()
        assert run_command(name, [*map(str, arguments), "--json"]) == 0
        found = json.loads(capsys.readouterr().out, parse_constant=refuse)
        assert found.pop("schema") == PRINTED
        assert found.keys() == printed_keys(page)
        return found

    return ask


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), ["policy", "list"], ["policy", "fetch"]], ids=" ".join
)
def test_every_command_has_json_in_its_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(command[0], [*command[1:], "--help"])
    assert ended.value.code == 0
    assert "--json " in capsys.readouterr().out


def test_what_is_no_json_is_null_and_half_a_character_an_escape():
    assert json.loads(printed({"a": float("nan"), "b": (float("inf"), 1)})) == {
        "schema": PRINTED,
        "a": None,
        "b": [None, 1],
    }
    assert printed({"path": "x\udcff"}, indent=None) == f'{{"schema": {PRINTED}, "path": "x\\udcff"}}'


def test_an_error_goes_to_stderr_with_its_exit_code_and_no_object(tmp_path, capsys):
    for name in ("report", "claims", "seeds", "track", "watch", "dashboard", "archive"):
        assert run_command(name, [str(tmp_path), "--json"]) == 2
        out, errors = capsys.readouterr()
        assert out == "" and errors.startswith(f"harness {name}: ")


def test_claims(said):
    found = said("claims", CLONE / "results" / "cpu_8_steps", page="harness claims SWEEP --json")
    assert found["claims"][0]["parts"]


def test_seeds(said):
    assert said("seeds", CLONE / "results" / "cpu_8_steps", page="harness seeds SWEEP --json")["commands"]


def test_combine(said, tmp_path):
    folders = [write_sweep(tmp_path / str(seed), seeds=(seed,)) for seed in (0, 1)]
    assert said("combine", *folders, page="harness combine A B --json")["settings"]


def test_watch_before_it_serves(sweep):
    command = [sys.executable, "-m", "harness", "watch", str(sweep), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            found = json.loads(watching.stdout.readline())
            watching.send_signal(signal.SIGINT)
            rest, errors = watching.communicate(timeout=30)
        finally:
            watching.kill()
    assert found.keys() - {"schema"} == printed_keys("harness watch SWEEP --json")
    assert (found["schema"], found["sweep"], found["pid"]) == (PRINTED, str(sweep), watching.pid)
    assert found["url"].startswith("http://127.0.0.1:")
    assert (watching.returncode, rest, errors) == (0, "", "The watching has ended.\n")


def test_archive(said, sweep):
    found = said("archive", sweep, page="harness archive SWEEP --json")
    archive = sweep / "records.jsonl.xz"
    assert found == {"archive": str(archive), "bytes": archive.stat().st_size, "rollouts": 0}


@needs_core
def test_track_offline(said, sweep, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    found = said("track", sweep, "--mode", "offline", page="harness track SWEEP --json")
    assert found == {"sweep": "s", "mode": "offline", "runs": 2, "report": False, "addresses": []}


def test_dashboard(said, sweep, monkeypatch):
    addresses = {"workspace": "https://w", "report": "https://r"}
    monkeypatch.setattr(dashboard_command, "save", lambda *_: print("wandb: logged in") or addresses)
    assert said("dashboard", sweep, page="harness dashboard SWEEP --json") == addresses
    assert said("dashboard", sweep, "--dry-run", page="harness dashboard SWEEP --dry-run")["sections"]


def test_certificate(said, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    about = {"policy": "micro", "env": "mock", "vllm": "vllm-1", "hardware": "a CPU", "settings": {}}
    same = Difference(32, 32, 224, 0.0, 0.0)
    kept = Certificate(about, same, same, {"requests": 48, "adapters": 7}, 4.2, "2026-01-01T00:00:00+0000")

    async def measured(config):
        print("the server is ready after 1 s")
        return kept

    monkeypatch.setattr(certificate_command, "measured", measured)
    found = said("certificate", "env=mock", page="harness certificate … --json")
    assert found["company"]["largest"] == 0
    assert certificate.all_known() == [kept]


def test_setup(said, monkeypatch):
    monkeypatch.delenv("HARNESS_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(setup, "WHEEL", False)
    monkeypatch.setattr(setup, "fetch_policy", lambda: setup.POLICY)
    for module in (setup, environments):
        monkeypatch.setattr(module, "make_env", lambda *_: None)
    found = said("setup", page="harness setup --json")
    assert (found["policy"], found["gpu"]) == (setup.POLICY, False)
    assert found["trainer"] == str(CLONE / ".venv" / "bin" / "python")
    assert found["server"] == str(environments.server_env() / "bin" / "python")
    alone = said("setup", "--trainer-only", page="harness setup --json")
    assert (alone["server"], alone["policy"]) == (None, None)


def test_setup_with_nothing_installed():
    code = "import sys; sys.argv[1:] = ['setup', '--json', '--help']; from harness.__main__ import door; door()"
    lean = {"PYTHONPATH": str(CLONE), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import harness.machine.setup; {code}"], env=lean, text=True, capture_output=True
    )
    assert done.returncode == 0 and "--json " in done.stdout, done.stderr


@pytest.mark.parametrize("order", [("list", "--json"), ("--json", "list")])
def test_policy_list(order, capsys):
    assert run_command("policy", order) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() - {"schema"} == {"policies"}
    assert [each["name"] for each in found["policies"]] == list(POLICIES)
    assert {*found["policies"][0]} == {"name", "here", "folder", "how_to_get"}


def test_policy_fetch(said, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "fetch", lambda model, say: tmp_path)
    found = said("policy", "fetch", "Qwen/Qwen3-0.6B", page="harness policy fetch NAME --json")
    assert found == {"policy": "Qwen/Qwen3-0.6B", "folder": str(tmp_path)}


def test_pack(said, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_command, "pack", lambda out, say: (out / "unpack.py").touch())
    found = said("pack", tmp_path, page="harness pack FOLDER --json")
    assert found == {"folder": str(tmp_path), "files": ["unpack.py"]}


def test_completion(said):
    assert said("completion", "bash", page="harness completion SHELL --json") == {"shell": "bash", "script": BASH}
