"""A key and a server that `wandb login` has written, and no variable names: `track` and `dashboard` go by them."""

import json
import os
import subprocess
import sys

import pytest

from harness.machine import inventory
from tests.synthetic import leave_one_out, write_sweep
from tests.tracking.conftest import KEY
from tests.tracking.fake_wandb import taking
from tests.tracking.test_tracking import PATIENCE, needs_core

NAMES = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR", "NETRC")


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (*NAMES, "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    return made


def python(*command):
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_core
def test_after_a_login_at_a_host_both_commands_reach_it(home, tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=2)
    with taking() as server:
        python("wandb", "login", "--host", server.address, KEY)
        assert KEY in (home / ".netrc").read_text()
        assert inventory.wandb_key() and inventory.wandb_server() == server.address
        tracked = json.loads(python("harness", "track", folder, "--json"))
        assert (tracked["mode"], tracked["runs"]) == ("online", 2)
        assert len(server.runs) == 2 and tracked["addresses"][0].startswith(server.address)
        shown = json.loads(python("harness", "dashboard", folder, "--json"))
        assert [view["displayName"] for view in server.views.values()] == ["Ablation: s"] * 2
        assert all(address.startswith("http://") for address in (shown["workspace"], shown["report"]))


@needs_core
def test_a_netrc_file_alone_has_the_key_of_the_server_that_a_variable_names(home, tmp_path, monkeypatch):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out()[:1], steps=2)
    with taking() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        assert not inventory.wandb_key()
        (home / ".netrc").write_text(f"machine {server.address.split('//')[1]}\n  login user\n  password {KEY}\n")
        assert json.loads(python("harness", "track", folder, "--json"))["mode"] == "online"
        assert len(server.runs) == 1


def machine(host):
    return f"machine {host}\n  login user\n  password {KEY}\n"


KEYS = [
    ("the cloud's", machine("api.wandb.ai"), "", {}, True),
    ("another server's", machine("w.example"), "", {}, False),
    ("that of the last login", machine("w.example:8080"), "base_url = https://w.example:8080", {}, True),
    ("the cloud's after a login elsewhere", machine("api.wandb.ai"), "base_url = https://w.example", {}, False),
    (
        "a variable wins",
        machine("a.example"),
        "base_url = https://b.example",
        {"WANDB_BASE_URL": "https://a.example"},
        True,
    ),
    ("a file that is none", "machine", "base_url", {}, False),
]


@pytest.mark.parametrize(
    ("netrc", "settings", "variables", "found"), [each[1:] for each in KEYS], ids=[k[0] for k in KEYS]
)
def test_which_key_is_one_for_the_server(netrc, settings, variables, found, home, monkeypatch):
    (home / ".netrc").write_text(netrc)
    (home / ".netrc").chmod(0o644)  # W&B takes it
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text(f"[default]\n{settings}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert inventory.wandb_key() is found


def test_the_settings_of_the_folder_win_over_those_of_the_user(home, tmp_path, monkeypatch):
    places = {home / ".config" / "wandb": "https://user.example", tmp_path / "wandb": "https://folder.example"}
    for place, address in places.items():
        place.mkdir(parents=True)
        (place / "settings").write_text(f"[default]\nbase_url = {address}\n")
    assert inventory.wandb_host() == "folder.example"
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    assert inventory.wandb_host() == "user.example"
