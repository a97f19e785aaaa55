"""Config sections that take exactly what their annotations say, and refuse the rest in one sentence.

A whole number is no 2.5 and no true, a number is finite, a key that no field has is an error. Each refusal names the
option as it is written on the command line (`train.steps`), what was given, what is allowed, the nearest spelling.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from harness.errors import ConfigError, HarnessError, closest

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

# A description is what a refusal says is expected.
Count = Annotated[int, Field(gt=0, description="a whole number above 0")]
Whole = Annotated[int, Field(ge=0, description="a whole number, 0 or more")]
Positive = Annotated[float, Field(gt=0, description="a number above 0")]
Share = Annotated[float, Field(ge=0, le=1, description="a share between 0 and 1")]


@dataclass(frozen=True, config=STRICT)
class Section:
    """Base of the sections. option: what its fields are called after on the command line; '' for the top level"""

    option: ClassVar[str] = ""

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_words(cls, data: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return build(data)
        except ValidationError as error:
            raise ConfigError(refusal(cls, error)) from None


def refusal(section: type[Section], error: ValidationError) -> str:
    """The first fault, as a sentence."""
    fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0])
    option = f"{section.option}.{name}" if section.option else name
    if fault["type"] in ("unexpected_keyword_argument", "unexpected_positional_argument"):
        known = [field.name for field in fields(section)]
        return f"No option is called {option!r}.{closest(name, known)} {_listed(section.option, known)}"
    annotation = get_type_hints(section, include_extras=True).get(name)
    if fault["type"] in ("missing", "missing_argument") and len(fault["loc"]) == 1:
        return f"{option} is missing; expected {expected(annotation)}."
    given = fault["input"]
    if _is_list(annotation) and isinstance(given, str | int | float) and len(fault["loc"]) == 1:
        return f"{option} is {shown(given)}; expected a list: {option}=[{shown(given)}]."
    text = f"{option} is {shown(given)}; expected {expected(annotation)}."
    if isinstance(given, float) and given.is_integer() and fault["type"] == "int_type":
        text += f" Write it without a point or an exponent: {option}={int(given)}."
    choices = [choice for choice in get_args(annotation) if get_origin(annotation) is Literal]
    return text + closest(str(given), choices)


def expected(annotation: Any) -> str:
    """What a field takes, in words: its description where it has one."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        described = [m.description for m in args[1:] if isinstance(m, FieldInfo) and m.description]
        return described[0] if described else expected(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(expected(arg) for arg in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if _is_list(annotation):
        return "a list"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def shown(value: object) -> str:
    """A value as it is written on the command line, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value) if str(value).strip() and str(value).isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)} characters)"


def _listed(option: str, names: Sequence[str]) -> str:
    return f"Options of {option}: {', '.join(names)}." if option else f"Options: {', '.join(names)}."


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(_is_list, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return _is_list(get_args(annotation)[0])
    return get_origin(annotation) in (Sequence, list, tuple)


def refuse_wrong_arguments(option: str, target: Callable[..., object], given: Mapping[str, Any]) -> None:
    """Raises ConfigError for what a class of somebody's own does not take, by its annotations, as strictly as above."""
    parameters = inspect.signature(target).parameters
    try:
        hints = get_type_hints(target)
        if isinstance(target, type):
            hints |= get_type_hints(inspect.getattr_static(target, "__init__"))
    except NameError:  # of a module that the class did not import at run time
        hints = {}
    for name, value in given.items():
        if name in parameters and name in hints:
            try:
                TypeAdapter(hints[name], config=STRICT).validate_python(value)
            except ValidationError:
                text = f"{option}.{name} is {shown(value)}; expected {expected(hints[name])}."
                raise ConfigError(text) from None
            except PydanticUserError:  # no annotation that pydantic knows
                continue
        elif name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise ConfigError(f"No option is called '{option}.{name}'.{closest(name, parameters)}")


def made(option: str, options: Any) -> Any:
    """What a config group's `_target_` makes of its options."""
    if not isinstance(options, dict) or "_target_" not in options:
        raise ConfigError(f"{option} names no class; expected _target_: package.module.Class and its options.")
    try:
        target = get_object(options["_target_"])
        given = {key: value for key, value in options.items() if not key.startswith("_")}
        if not (isinstance(target, type) and issubclass(target, Section)):
            refuse_wrong_arguments(option, target, given)
        return instantiate(options, _convert_="all")
    except (HydraException, ImportError) as error:
        if isinstance(error.__cause__, HarnessError):
            raise error.__cause__ from None
        raise ConfigError(f"{option}: {options['_target_']} cannot be used: {error}") from error
