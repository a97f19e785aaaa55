"""What is wrong with a class of somebody else's is said once, with the place and the way out."""

import sys

import pytest
from omegaconf import OmegaConf

from harness.errors import ConfigError
from harness.fixes import registry
from harness.levels import declared, factor_names, seams_of
from harness.seams import Rendering

MINE = """
from harness.seams import Factor

class Level:
    factor = Factor(name="kl")
    level, needs = "off", "always"
    check = lambda self, given: given

class NoMethod(Level):
    seam = "update"

class NoSeam(Level):
    seam = "reward"
"""


@pytest.fixture
def fixes(tmp_path, monkeypatch):
    """The configuration of the note's fixes and of one of somebody's own, by the class behind it."""
    (tmp_path / "of_theirs.py").write_text(MINE + "\n")
    (tmp_path / "lacking.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("of_theirs", "lacking"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    ours = {name: {"_target_": f"harness.fixes.{name}.On"} for name in registry.note().names}
    return lambda target: OmegaConf.create({"fix": ours | {"kl": {"_target_": target}}, "factors": "note"})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "of_theirs.NoMethod",
            r"kl: of_theirs\.NoMethod\.seam is 'update', but of_theirs\.NoMethod has no method update",
        ),
        ("of_theirs.NoSeam", r"kl: of_theirs\.NoSeam\.seam is 'reward'; expected one of batch, update, context"),
    ],
)
def test_an_open_seam_takes_its_name_and_a_method_of_that_name(fixes, target, message):
    with pytest.raises(ConfigError, match=message):
        seams_of(fixes(target))


def test_a_package_that_is_not_found_is_one_sentence_with_the_way_out(fixes, caplog, capfd):
    with pytest.raises(ConfigError) as raised:
        declared(fixes("of_nobody.kl.Off"), ["kl"])
    assert str(raised.value) == (
        "fix/kl: of_nobody.kl.Off cannot be imported: No module named 'of_nobody'. "
        "Put the folder that holds of_nobody on PYTHONPATH, or start in that folder."
    )
    assert not caplog.text and not "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("lacking.Off", "No module named 'no_such_dependency'"),
        ("of_theirs.Of", "module 'of_theirs' has no attribute 'Of'"),
    ],
)
def test_what_a_found_package_lacks_is_its_own_matter(fixes, target, reason):
    with pytest.raises(ConfigError, match=f"cannot be imported: {reason}$"):
        declared(fixes(target), ["kl"])


def test_a_factor_that_is_no_fix_may_lack_its_folder(fixes):
    cfg = fixes("of_theirs.NoMethod")
    cfg.factors = ["tools", "zz"]
    with pytest.raises(ConfigError, match="factors names 'zz', which is no fix. Fixes: "):
        factor_names(cfg)
    del cfg.fix.kl
    with pytest.raises(ConfigError, match=r"which is no fix. \(Is --config-dir missing\?\) Fixes: "):
        factor_names(cfg)


def test_a_level_at_the_seam_of_one_of_our_fixes_has_all_that_the_loop_asks_there(fixes, tmp_path):
    half = "Level.factor = Factor(name='reward')\nLevel.training_reward = None\n"
    (tmp_path / "of_theirs.py").write_text(f"{MINE}\n{half}")
    cfg = fixes("of_theirs.NoMethod")
    cfg.fix.reward = {"_target_": "of_theirs.Level"}
    del cfg.fix.kl
    with pytest.raises(ConfigError, match="fix/reward: of_theirs.Level lacks trains_on; harness.seams.Reward says"):
        seams_of(cfg)


def test_a_configuration_from_before_the_fixes_of_the_context_has_them_on(fixes):
    cfg = fixes("harness.fixes.tools.On")
    del cfg.fix.kl
    assert seams_of(cfg).context(Rendering()) == Rendering()
