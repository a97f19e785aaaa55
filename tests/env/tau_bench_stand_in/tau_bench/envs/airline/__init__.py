from pathlib import Path

from tau_bench.envs.base import Env
from tau_bench.envs.tools import ALL


class Domain(Env):
    folder, tools = Path(__file__).parent, ALL
