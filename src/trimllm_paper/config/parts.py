"""What the models of the configuration are made of: sections, and types with a range."""

from __future__ import annotations

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

from trimllm.base import names

T = TypeVar("T")
CRITERIA = names.CRITERIA
"""Criteria that a recipe may name; the authors' own needs more than a name (`compat`)."""


class Section(BaseModel):
    """A mapping with known keys. Values are taken as they are: no text becomes a number.

    What a key means, and why its default is what it is, stands in `keys.yaml`.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null(cls, values: Any) -> Any:
        """Nothing where the command line says null, which Snakemake leaves a text."""
        if not isinstance(values, dict):
            return values
        return {key: None if value == "null" else value for key, value in values.items()}


@dataclass(frozen=True, eq=False)
class OneOf:
    """Says of a union of sections that a value is one of them, told by a key that only it has."""

    kinds: Mapping[str, type[Section]]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind.__name__: handler.generate_schema(kind) for kind in self.kinds.values()}
        return core_schema.tagged_union_schema(choices, self._tag)

    def _tag(self, value: Any) -> str | None:
        if isinstance(value, Section):
            return type(value).__name__
        told = [key for key in self.kinds if isinstance(value, dict) and key in value]
        return self.kinds[told[0]].__name__ if len(told) == 1 else None


@dataclass(frozen=True, eq=False)
class Among:
    """Says of a text that it is a known one: a `Literal` of what is known when the program runs."""

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


def name(form: str, meaning: str) -> Any:
    """Says of a text that it is a name of a certain form."""
    return Field(pattern=f"^{form}$", description=meaning)


def known_or_own(known: Collection[str], what: str) -> tuple[Any, ...]:
    """Say of a name that it is known, or says where to import something of one's own."""

    def check(name: str) -> str:
        if name not in known and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            problem = f"must be one of {', '.join(known)}, or package.module:{what}"
            raise PydanticCustomError("unknown", problem)
        return name

    meaning = f"{', '.join(known)}, or package.module:{what} for one of your own"
    return AfterValidator(check), Field(description=meaning)


def _unique(values: list[T]) -> list[T]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise PydanticCustomError("unique", "names something twice")
    return values


def _as_written(value: Any, check: Any) -> Any:
    checked = check(value)
    return value if type(value) is int else checked


# 50 stays 50 and 0.5 stays 0.5, so that texts made of them are those of the file.
AS_WRITTEN = (WrapValidator(_as_written), PlainSerializer(lambda value: value))


def _folder(text: str) -> str:
    if number(text) is not None:
        raise PydanticCustomError("folder_type", "a number")
    return text


Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Some = Annotated[Unique[T], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1), *AS_WRITTEN]
Percent = Annotated[float, Field(gt=0, le=100), *AS_WRITTEN]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Criterion = Annotated[str, *known_or_own(CRITERIA, "name")]
Pattern = Annotated[float, Field(ge=0, le=1)] | Annotated[Text, AfterValidator(_folder)]
"""Share of attention units among the dropped, or folder of a kept chain."""
Name = Annotated[
    str, name("[a-z0-9][a-z0-9._-]*", "lower-case letters, digits, dots, dashes and underscores")
]
