"""Whether a user model can be asked at all: its provider, its key. Known before anything starts."""

from __future__ import annotations

import os

import litellm
import openai

from harness.errors import ConfigError
from harness.sections import UserConfig


def check(options: UserConfig, key: bool = True) -> None:
    """Raises ConfigError where the user is a model that cannot be asked. key: whether one has to be there"""
    provider_of(options.model or "")
    if key:
        key_of(options)


def provider_of(model: str) -> str:
    """Raises ConfigError where litellm knows no provider of this name."""
    litellm.suppress_debug_info = True  # it prints a list of providers otherwise
    try:
        return str(litellm.get_llm_provider(model)[1])
    except openai.OpenAIError:
        raise ConfigError(
            f"user.model is {model!r}, and litellm knows no provider of it. Write PROVIDER/MODEL: openai/gpt-4o, "
            "anthropic/claude-…, or hosted_vllm/NAME with user.api_base for a server of your own."
        ) from None


def key_of(options: UserConfig) -> str | None:
    """The key of `user.key_variable`. Raises ConfigError where a key is needed and none is in the environment."""
    if options.key_variable:
        key = os.environ.get(options.key_variable)
        if not key:
            raise ConfigError(
                f"user.key_variable is {options.key_variable}, and the environment has no such variable. Set it: "
                f"export {options.key_variable}=…"
            )
        return key
    known = litellm.validate_environment(options.model or "")
    if not known["keys_in_environment"] and known["missing_keys"] and not options.api_base:
        needed = " and ".join(known["missing_keys"])
        raise ConfigError(
            f"user.model={options.model} needs {needed} in the environment, and it is not there. Set it, or name "
            "another variable in user.key_variable."
        )
    if options.api_base and not known["keys_in_environment"]:
        return "none"  # a server of one's own mostly asks for none, and the client wants some text
    return None
