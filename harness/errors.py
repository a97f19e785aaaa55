"""Everything that can go wrong, by who has to act.

HarnessError
├── ConfigError    the input is wrong: change the command or the file it names
│   └── SetupError     what it asks for could not be fetched or installed: look at the network, disk or log it names
├── EngineError    the server or the trainer failed: look at the log it names, run the same command again
├── StoreError     a stored result cannot be read or written, or records differ from a replay
└── EpisodeError   one episode met an infrastructure failure: it is retried, then counted as missing

Each message says what happened, what was expected, and what to do next.
"""


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose."""


class ConfigError(HarnessError):
    """The configuration or the command line is wrong. Raised before anything expensive starts."""


class SetupError(ConfigError):
    """Something that has to be here could not be fetched or installed. The command is right: help it, run it again."""


class EngineError(HarnessError):
    """The sampler (vLLM server) or the trainer failed. What was computed so far is kept."""


class StoreError(HarnessError):
    """A stored result cannot be read or written, or a run's records differ from what was computed again."""


class EpisodeError(HarnessError):
    """Infrastructure failed within one episode. Retried; then missing data, never reward 0."""
