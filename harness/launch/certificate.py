"""`harness certificate [KEY=VALUE …]`: starts a sweep's engine and measures what company does to answers.

What is found is kept for this machine: `harness doctor` shows it, and a sweep with the same server says it in its
report.
"""

import asyncio
import importlib
import sys
import tempfile
import time
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from harness.backend import server_config
from harness.config import SweepConfig
from harness.endings import run_stoppable
from harness.env import load_environment
from harness.errors import ConfigError
from harness.launch.one_run import composed
from harness.launch.quiet import quiet
from harness.machine import certificate
from harness.machine.certificate import Certificate
from harness.policy import load_policy, ready
from harness.printed import printed
from harness.sweep.certified import subject


async def measured(config: SweepConfig) -> Certificate:
    """Starts the server of the configuration and asks it. Raises ConfigError, EngineError."""
    from harness.engine.server import Server

    policy, domain = ready(load_policy(config.policy)), load_environment(config.env.source)
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(server_config(config, policy, Path(scratch)), lambda line: print(line, file=sys.stderr))
        loading = asyncio.create_task(asyncio.to_thread(importlib.import_module, "harness.launch.company"))
        async with server:  # torch and litellm load meanwhile
            company = await loading
            print(f"the server is ready after {server.started_in:.0f} s", flush=True)
            found = await company.measure(server, policy, domain, config, Path(scratch))
    about = subject(config, policy, domain.name)
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return Certificate(about, found.again, found.company, found.beside, round(found.seconds, 1), now)


def run(asked: Namespace) -> int:
    quiet()
    config = composed(asked.options)
    if config.backend.kind != "shared":
        raise ConfigError("Stock ART serves each run by a server of its own. Measure backend=shared.")
    with redirect_stdout(sys.stderr if asked.json else sys.stdout):
        found = run_stoppable(measured(config))
    path = certificate.keep(found)
    if asked.json:
        print(printed(found.record() | {"title": found.title(), "text": found.text(), "kept": str(path)}))
        return 0
    print(f"{found.title()}:\n{found.text()}.\nMeasured in {found.seconds:.0f} s; kept in {path}")
    return 0
