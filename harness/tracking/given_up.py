"""A start of a sweep gives W&B up once and says so in one line, whatever the number of its engines and where they are.

The engines share the sweep's folder alone, so a file in there holds the line. An engine that finds it tries no more.
"""

from collections.abc import Callable
from pathlib import Path

SHOWN = 200  # characters of what W&B said


def say_once(folder: Path, show: Callable[[str], None], why: str) -> None:
    """Show the line, unless another engine has given W&B up before."""
    line = (
        f"W&B failed and is not waited for ({why[:SHOWN]}). The records are complete; "
        f"`python -m harness track {folder}` writes them to W&B later."
    )
    try:
        with _file(folder).open("x") as file:
            file.write(line)
    except FileExistsError:
        return
    except OSError:  # nothing can be written: a view must not be what a sweep ends with
        pass
    show(line)


def said(folder: Path) -> str:
    """The line; "" while nobody has given W&B up."""
    try:
        return _file(folder).read_text()
    except OSError:
        return ""


def try_again(folder: Path) -> None:
    """A new start knows nothing of what W&B did before."""
    _file(folder).unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    return folder / "logs" / "wandb-given-up.txt"
