"""What sections of the configuration are made of: their base class, keys, types with a range."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from trimllm.base.names import CRITERIA

K = TypeVar("K")
T = TypeVar("T")
UNKNOWN = "unknown_key"


class Section(BaseModel):
    """A mapping with known keys. Texts are read as numbers where a number is needed: Snakemake
    leaves the 0.5 of `--config 'recipes={"paper": {"ratio": 0.5}}'` a text, and YAML 1e-4."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """Refuse unknown keys; read the text `null` as null."""
        if not isinstance(values, dict):
            return values
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for name in map(str, values):
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                problem = f"unknown key; {hint}"
                raise PydanticCustomError(UNKNOWN, "{problem}", {"problem": problem, "key": name})
        return {name: None if value == "null" else value for name, value in values.items()}


def key(meaning: str, default: Any = ..., **limits: Any) -> Any:
    """A key of a section, which is required without a default."""
    return Field(default, description=meaning, **limits)


def among(names: Iterable[str]) -> GetPydanticSchema:
    """Annotates a text that is one of some names: a `Literal` of names known at run time."""
    return GetPydanticSchema(lambda _, handler: core_schema.literal_schema([*names]))


def by_key(*keys: str) -> GetPydanticSchema:
    """Annotates a union of sections, each recognized by the one of these keys that it has."""

    def tag(value: Any) -> str | None:
        names = type(value).model_fields if isinstance(value, Section) else value
        present = [key for key in keys if isinstance(names, dict) and key in names]
        return f"<{present[0]}>" if len(present) == 1 else None

    def schema(union: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = zip(keys, get_args(union), strict=True)
        problem = f"must be a mapping with exactly one of {', '.join(keys)}"
        return core_schema.tagged_union_schema(
            {f"<{key}>": handler(member) for key, member in members},
            tag,
            custom_error_type="wrong_keys",
            custom_error_message=problem,
        )

    return GetPydanticSchema(schema)


def listed(known: Iterable[Any]) -> str:
    """The names that exist, for a message."""
    return f"there are: {', '.join(sorted(map(str, known))) or 'none'}"


def _unique(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("has an entry twice")
    return values


def _without_nulls(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {name: value for name, value in values.items() if value not in (None, "null")}


Entries = Annotated[dict[K, T], BeforeValidator(_without_nulls), Field(min_length=1)]
"""A mapping from which an overlay removes an entry by null."""
Unique = Annotated[list[T], AfterValidator(_unique)]
Some = Annotated[Unique[T], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
# `int | float`: 50 stays 50, so that texts made of it are those of the file.
Share = Annotated[int | float, Field(gt=0, le=1)]
Percent = Annotated[int | float, Field(gt=0, le=100)]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]*$")]
OwnCode = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:name` of the user's own."""
Criterion = Annotated[str, among(CRITERIA)] | OwnCode
