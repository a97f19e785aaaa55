"""What Hydra offers and the harness does differently: refused in a sentence that says why and what to use instead."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from harness.errors import ConfigError, closest
from harness.launch.options import LAUNCHERS, plain
from harness.launch.overrides import GivenOverride
from harness.strict import shown

FOREIGN_LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm", "rq", "ray_aws", "ray_jobs")
FOREIGN_SWEEPERS = ("basic", "optuna", "ax", "nevergrad")
OWN = {
    "hydra/job_logging": ("none", "disabled", "stdout"),
    "hydra/hydra_logging": ("none", "disabled", "default"),
}
RESULTS = "Results go to the folder sweep=NAME in results=FOLDER, with each run's configuration; give these instead."
FOLDERS = ("hydra.run", "hydra.sweep", "hydra.output_subdir", "hydra.runtime")
OPEN = ("hydra.launcher.options",)  # any key may be added here

ARMS = ("hydra.sweeper.design", "hydra.sweeper.arms")


def hydra_options(group: str, found: Sequence[str]) -> Sequence[str]:
    """What can be chosen from one of Hydra's groups: `found` are the configs in our folders and the user's."""
    return [*OWN.get(group, ()), *found]


def refuse_hydra_choice(each: GivenOverride, options: Sequence[str]) -> None:
    """Raises ConfigError for a choice that Hydra has and the harness has not."""
    value = shown(each.values[0])
    if each.several or each.glob:
        raise ConfigError(f"{each.text}: one of them. Options of {each.key}: {', '.join(options)}.")
    if value in options:
        return
    if each.key == "hydra/launcher" and value in FOREIGN_LAUNCHERS:
        local = " `hydra/launcher=slurm hydra.launcher.cluster=local` tries Slurm jobs on this machine."
        raise ConfigError(
            f"{each.text} starts every run by itself, and the runs of a sweep share an engine and what it computed. "
            f"Choose one of {', '.join(options)}.{local if value.startswith('submitit') else ''}"
        )
    if each.key == "hydra/sweeper" and value in FOREIGN_SWEEPERS:
        raise ConfigError(
            f"{each.text} does not know designs: the arms are fixed before the first run, by +ablation=NAME or by "
            "comma lists of fixes and seeds. Leave hydra/sweeper out."
        )
    if each.key == "hydra/job_logging":
        raise ConfigError(
            f"{each.text} would write beside the results; a sweep's logs are in its folder. Leave it out."
        )
    if not options:
        raise ConfigError(f"{each.key} has nothing to choose here. Leave it out.")
    raise ConfigError(f"{each.key} has no option {value!r}.{closest(value, options)} Options: {', '.join(options)}.")


def refuse_hydra_option(each: GivenOverride, ablation: str | None) -> None:
    """Raises ConfigError for options of Hydra that name a folder, another place to work in, or what else runs a sweep.

    ablation: that is chosen beside it
    """
    if each.several or each.glob:
        raise ConfigError(f"{each.text}: Hydra's own options take one value.")
    if each.key.endswith("._target_"):
        raise ConfigError(f"{each.text}: what runs a sweep is chosen by hydra/launcher=node|ray|slurm. Leave it out.")
    if f"{each.key}.".startswith("hydra.job.env_set."):
        raise ConfigError(f"{each.text}: the runs of a sweep share a process. Set the variable before the command.")
    if isinstance(each.values[0], dict) and each.key not in OPEN:
        raise ConfigError(f"{each.text}: the options of {each.key} are given one by one: {each.key}.NAME=VALUE.")
    if each.key == "hydra.sweeper.implied":
        raise ConfigError(f"{each.text}: the harness finds by itself which fixes nobody named. Leave it out.")
    if each.key in ARMS and ablation:
        raise ConfigError(f"{each.text}: +ablation={ablation} names the arms already. Drop one of them.")
    if any(f"{each.key}.".startswith(f"{folder}.") for folder in FOLDERS):
        raise ConfigError(f"{each.text} has no effect here. {RESULTS}")
    if each.key == "hydra.job.chdir" and each.values[0] is not False:
        raise ConfigError(
            f"{each.text}: all runs of a sweep share a process, which stays where it was started. Leave it out; "
            "results=FOLDER says where results go."
        )


def refuse_unknown_option(each: GivenOverride, cfg: DictConfig) -> None:
    """Raises ConfigError for a `hydra.…` option that the composed configuration does not have."""
    parent, _, name = each.key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"No option is called {each.key!r}, since {parent} has none.")
    if name not in node and parent not in OPEN:
        names = [f"{parent}.{key!s}" for key in node if key != "_target_"]
        listed = f" Options: {', '.join(names)}." if names else ""
        raise ConfigError(f"No option is called {each.key!r}.{closest(each.key, names)}{listed}")


def refuse_launcher_options(cfg: DictConfig) -> None:
    """Raises ConfigError for an option of one of our launchers that is out of range."""
    name = cfg.hydra.runtime.choices["hydra/launcher"]
    if name in LAUNCHERS:
        LAUNCHERS[name](**plain(cfg.hydra.launcher))
