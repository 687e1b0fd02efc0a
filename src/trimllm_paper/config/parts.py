"""What the models of the configuration are made of: sections, and types with a range."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, TypeVar, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trimllm.base import names

T = TypeVar("T")
CRITERIA = tuple(name for name in names.CRITERIA if name != names.AUTHORS)
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


def one_of(**kinds: type[Section]) -> Any:
    """The type of a value that is one kind of mapping, told by the key that only this kind has."""

    def tag(value: Any) -> str | None:
        if isinstance(value, Section):
            return type(value).__name__
        told = [kinds[key].__name__ for key in kinds if isinstance(value, dict) and key in value]
        return told[0] if len(told) == 1 else None

    union = Union[tuple(Annotated[one, Tag(one.__name__)] for one in kinds.values())]  # noqa: UP007
    return Annotated[union, Discriminator(tag)]


def number(text: Any) -> float | None:
    """A text that reads as a finite number, as that; else None."""
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def name(form: str, meaning: str) -> Any:
    """The type of a name of a certain form."""
    return Annotated[str, Field(pattern=f"^{form}$", description=meaning)]


def known_or_own(known: Collection[str], what: str) -> Any:
    """The type of a name that is known, or says where to import something of one's own."""

    def check(name: str) -> str:
        if name not in known and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            problem = f"must be one of {', '.join(known)}, or package.module:{what}"
            raise PydanticCustomError("unknown", problem)
        return name

    meaning = f"{', '.join(known)}, or package.module:{what} for one of your own"
    return Annotated[str, AfterValidator(check), Field(description=meaning)]


def _unique(values: list[T]) -> list[T]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise PydanticCustomError("unique", "names something twice")
    return values


def _as_written(value: Any, check: Any) -> Any:
    checked = check(value)
    return value if type(value) is int else checked


# 50 stays 50 and 0.5 stays 0.5, so that texts made of them are those of the file.
AS_WRITTEN = (WrapValidator(_as_written), PlainSerializer(lambda value: value))


def _no_authors(name: str) -> str:
    if name == names.AUTHORS:
        raise PydanticCustomError("criterion", "needs more than a name; set compat: authors")
    return name


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
Criterion = Annotated[known_or_own(CRITERIA, "name"), BeforeValidator(_no_authors)]
Pattern = Annotated[float, Field(ge=0, le=1)] | Annotated[Text, AfterValidator(_folder)]
"""Share of attention units among the dropped, or folder of a kept chain."""
Name = name("[a-z0-9][a-z0-9._-]*", "lower-case letters, digits, dots, dashes and underscores")
