"""An environment that set-up made holds the byte code of what runs import."""

import sys
from pathlib import Path

from harness.machine.environments import write_bytecode


def test_byte_code_is_written_even_where_the_environment_forbids_it(tmp_path, monkeypatch):
    (tmp_path / "heavy.py").write_text("import lighter\n")
    (tmp_path / "lighter.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    write_bytecode(Path(sys.executable), ["not_there", "heavy"])
    assert {path.name.split(".")[0] for path in tmp_path.glob("__pycache__/*.pyc")} == {"heavy", "lighter"}
