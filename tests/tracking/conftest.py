"""A W&B server on loopback, and a client that is online with a key."""

import pytest

from tests.tracking.fake_wandb import taking

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def server(monkeypatch):
    """Online with a key, at a server of ours."""
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    with taking() as made:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", made.address)
        monkeypatch.setenv("WANDB_MODE", "online")
        yield made
