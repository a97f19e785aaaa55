"""Puts into the wheel what lies beside the package in a clone; harness/paths.py finds it in both places.

All else is in pyproject.toml. An editable installation copies nothing.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BESIDE = {
    "conf": "conf",
    "experiments/claims": "claims",
    "requirements.lock": "machine/requirements.lock",
    "requirements-gpu.lock": "machine/requirements-gpu.lock",
}


class WithFilesBeside(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        for source, target in BESIDE.items():
            place = Path(self.build_lib, "harness", target)
            if Path(source).is_dir():
                shutil.rmtree(place, ignore_errors=True)  # pip builds in the source folder: what an earlier build left
                shutil.copytree(source, place)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)


setup(cmdclass={"build_py": WithFilesBeside})
