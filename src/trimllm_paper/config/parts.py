"""What the models of the configuration are made of: sections, and types with a range."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from trimllm.base.names import CRITERIA

T = TypeVar("T")
UNKNOWN = "unknown_key"
"""Type of pydantic's error for a key that a section does not have."""


class Section(BaseModel):
    """A mapping with known keys, each described by the text below it. No text becomes a number."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """Refuse unknown keys; read the text `null`, as Snakemake leaves it, as nothing."""
        if not isinstance(values, dict):
            return values
        known = [field.alias or key for key, field in cls.model_fields.items()]
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                ctx = {"hint": hint, "at": [key]}
                raise PydanticCustomError(UNKNOWN, "unknown key; {hint}", ctx)
        return {key: None if value == "null" else value for key, value in values.items()}

    def wrong(self, key: str, problem: str) -> PydanticCustomError:
        """An error about one key, for a section's own validators."""
        ctx = {"problem": problem, "at": [key], "value": getattr(self, key)}
        return PydanticCustomError("wrong", "{problem}", ctx)


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotates a union of sections: a value is the one whose key it has."""

    kinds: Mapping[str, type[Section]]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind.__name__: handler.generate_schema(kind) for kind in self.kinds.values()}
        problem = f"must be a mapping with exactly one of {', '.join(self.kinds)}"
        return core_schema.tagged_union_schema(
            choices, self._tag, custom_error_type="kind", custom_error_message=problem
        )

    def _tag(self, value: Any) -> str | None:
        if isinstance(value, Section):
            return type(value).__name__
        keys = [key for key in self.kinds if isinstance(value, dict) and key in value]
        return self.kinds[keys[0]].__name__ if len(keys) == 1 else None


@dataclass(frozen=True, eq=False)
class Among:
    """Annotates a text that is one of some names: a `Literal` of names known at run time."""

    known: Collection[str]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema([*self.known])


def number(text: Any) -> float | None:
    """A text that reads as a finite number, as that; else None."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def known_or_own(known: Collection[str], what: str) -> AfterValidator:
    """Accept known names, and `package.module:name` of the user's own `what`."""

    def check(name: str) -> str:
        if name not in known and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            problem = f"must be one of {', '.join(known)}, or package.module:{what}"
            raise PydanticCustomError("unknown", problem)
        return name

    return AfterValidator(check)


def _unique(values: list[T]) -> list[T]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise PydanticCustomError("unique", "has an entry twice")
    return values


def _as_written(value: Any, check: Any) -> Any:
    checked = check(value)
    return value if type(value) is int else checked


# 50 stays 50 and 0.5 stays 0.5, so that texts made of them are those of the file.
AS_WRITTEN = (WrapValidator(_as_written), PlainSerializer(lambda value: value))


def _folder(text: str) -> str:
    if number(text) is not None:
        raise PydanticCustomError("folder_type", "must be a folder; this is a number in quotes")
    return text


Unique = Annotated[list[T], AfterValidator(_unique)]
Some = Annotated[Unique[T], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1), *AS_WRITTEN]
Percent = Annotated[float, Field(gt=0, le=100), *AS_WRITTEN]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Criterion = Annotated[str, known_or_own(CRITERIA, "name")]
Pattern = Annotated[float, Field(ge=0, le=1)] | Annotated[Text, AfterValidator(_folder)]
"""Share of attention sublayers among the dropped, or folder of a kept chain."""
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]*$")]
