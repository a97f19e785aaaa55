"""How two policies got their start: scripted demonstrations with systematic mistakes, and the training on them.

    micro/   policy=micro, in minutes on a CPU:      python -m experiments.warm_starts.micro --out FOLDER
    retail/  policy=smollm2_135m, in 5 minutes on a GPU:  python -m experiments.warm_starts.retail --out FOLDER

They play the environments of harness/env. The harness knows nothing of them: it loads the checkpoints.
"""

import harness.env  # noqa: F401  it silences tau2, which warns at its first import
