"""Keys of what is measured: compressors, tables, evaluation, throughput, engines, exports."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trimllm.base.names import RULES
from trimllm.compress.methods import METHODS as COMPRESSORS
from trimllm.compress.methods import default_engine
from trimllm.engines.formats import FORMATS
from trimllm.exporting.formats import VARIANTS
from trimllm.throughput.shapes import SHAPES
from trimllm_paper.config.parts import (
    Among,
    Count,
    Criterion,
    Name,
    Pattern,
    Percent,
    Section,
    Share,
    Some,
    Unique,
)

METHODS = tuple(COMPRESSORS)
Method = Annotated[str, Among(METHODS)]
Kernel = Annotated[str, Among([name for name in METHODS if name != "llm_pruner"])]
"""A compressor with a kernel of its own."""
GroupSize = Literal[32, 64, 128]
PatternName = Annotated[str, Field(pattern="^[a-z][a-z0-9]*$")]


class Engines(Section):
    awq_int4: Annotated[str, Among(COMPRESSORS["awq_int4"].engines)] = "llmcompressor"
    """Engine of awq_int4."""
    gptq_int4: Annotated[str, Among(COMPRESSORS["gptq_int4"].engines)] = "gptqmodel"
    """Engine of gptq_int4."""


class Compress(Section):
    methods: Unique[Method] = ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"]
    """Compressors that are applied to full_ft, as rows of Table 2. The default is the paper's."""
    engines: Engines = Engines()
    """Engine of a compressor that has several. Defaults are in the main environment; `autoawq` and
    `auto-gptq` have environments of their own (`make envs`)."""
    group_size: GroupSize = 128
    """Weights that share a scale in four-bit formats. Must divide the model's widths: 64 for
    SmolLM2-135M."""
    kept: Share = 0.5
    """Share of the sublayers' parameters that llm_pruner keeps."""
    calibration_documents: int = Field(default=128, ge=8)
    """Training documents (prompt and right answer) to calibrate on; llm_int8 needs none."""
    held_back_documents: int = Field(default=48, ge=4)
    """Maximal number of held-back documents on which a compressed checkpoint is verified."""
    max_tokens: int = Field(default=512, ge=16)
    """Tokens of a calibration row."""

    def engine(self, method: str) -> str:
        """The engine of a compressor."""
        return getattr(self.engines, method, None) or default_engine(method)


class Tables(Section):
    models: Unique[Name] | None = None
    """Models of Tables 3 to 6 and 9. Null takes all."""
    domains: Unique[Name] | None = None
    """Domains of Tables 3 and 6, sixteen chains each. Domains that a run leaves out are left out
    here, too. Null, or none left, takes all of the run."""
    criteria: Some[Criterion] = ["calibration", "activation_norm", "both", "likelihood"]
    """Criteria that Tables 3 and 6 compare: the paper's three, and `likelihood`."""
    rules: Unique[Annotated[str, Among(RULES)]] = [*RULES]
    """Rules of Sajjad et al. that Table 3 compares: half of the blocks are dropped at once, then
    the rest is trained as long as a chain takes to get there."""
    ratios: Some[Share] = [1, 0.5, 0.25, 0.125]
    """Sparse update ratios that Table 6 compares."""
    smallest_percent: Percent | None = None
    """Percent of sublayers kept where chains of Tables 3 and 6 end; every epoch up to there is
    evaluated. Null takes 50, as the paper, or the whole chain where no epoch ends at 50."""
    cross_percent: Percent | None = None
    """Percent of sublayers kept by models of Tables 4 and 5, one of `trim.kept_percent`. Null takes
    40, as the paper, or else the smallest."""
    near: dict[Name, Name] = {}
    """Domain: the near domain that Table 4 tests its models on, a file of `domains_folder` that
    needs no training set. Pairs of domains that a run leaves out are left out, too."""


class Evaluate(Section):
    documents: Count | None = None
    """Test documents a task. Null takes all."""
    batch_tokens: int = Field(default=2048, ge=64)
    """Tokens of one forward pass; bounds memory."""
    answer_tokens: Count = 128
    """Maximal number of tokens generated for a free answer."""


class ThroughputSection(Section):
    checkpoints: bool = True
    """Whether checkpoints of `models` are timed; false times shapes only, and trains nothing."""
    shapes: Unique[Annotated[str, Among(SHAPES)]] = []
    """Architectures that are timed with random weights."""
    kept_percent: Some[Percent] = [50, 40]
    """Percent of sublayers kept by shapes; for checkpoints see `trim.kept_percent`."""
    patterns: dict[PatternName, Pattern] = Field(default={"half": 0.5}, min_length=1)
    """Name: which sublayers of a shape are dropped. A number is the share of attention among the
    dropped, spread evenly; a folder holds a chain, whose order is followed. Tables show the
    first."""
    compressors: Unique[Kernel] = ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"]
    """Compressors that are timed on the full model."""
    composed: Unique[Kernel] = ["sparsegpt_2_4", "awq_int4"]
    """Those of `compressors` that are also timed on the first of `kept_percent`."""
    group_size: GroupSize = 128
    """Weights that share a scale in int4 layers. Must divide the widths: 64 for smollm2-135m."""
    domain: str | None = None
    """Domain whose checkpoints are timed. Null takes the first."""
    tokens: int = Field(default=512, ge=2, le=4096)
    """Prompt and generated tokens together."""
    generate: Count = 32
    """Tokens generated in a round; less than `tokens`."""
    repeats: Count = 6
    """Rounds of a prompt and its decoding, after one for warm-up. Tables show median and
    quartiles."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and products. `auto` is float16 on a GPU, else bfloat16 where the CPU
    computes in it, else float32."""
    threads: Count | None = None
    """Threads on a CPU. Null takes those of the job, all of `--cores`."""
    compiled: bool = False
    """Whether everything is also timed with torch.compile."""
    hardware: str | None = Field(default=None, pattern="^[a-z0-9][a-z0-9-]*$")
    """Name of the measuring machine in paths; jobs on other machines are refused. Null takes the
    machine that runs Snakemake; on a cluster, name the compute nodes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.composed:
            if name not in self.compressors:
                raise self.wrong("composed", f"{name} is not among `throughput.compressors`")
        if self.generate >= self.tokens:
            raise self.wrong("generate", f"must be less than throughput.tokens = {self.tokens}")
        return self


class EnginesSection(Section):
    formats: Some[Annotated[str, Among(FORMATS)]] = [
        *("transformers", "llm_int8", "awq_int4", "gguf_f16", "gguf_q8_0", "gguf_q4_0", "vllm")
    ]
    """Formats that are measured: `transformers`; `llm_int8`, `gptq_int4`, `awq_int4` (those of
    `compress.methods`); `gguf_*` (llama.cpp); `vllm`. Engines that are not installed are not
    run."""
    kept_percent: Some[Percent] | None = None
    """Percent of sublayers kept by the trimmed models, of `trim.kept_percent`. Null takes all."""
    least_percent: dict[Annotated[str, Among(FORMATS)], Percent] = {}
    """Format: smallest percent of sublayers kept that is measured in it, for formats whose export
    is refused below, such as `{gguf_q4_0: 40}`."""
    batches: Some[Count] = [1, 8]
    """Batch sizes."""
    prompt: int = Field(default=256, ge=1, le=4096)
    """Tokens of a prompt, from held-back documents."""
    generate: Count = 32
    """Tokens generated in a round."""
    repeats: Count = 6
    """Rounds, after one for warm-up; the models take turns. Tables show median and quartiles."""


class Export(Section):
    formats: Unique[Annotated[str, Among(VARIANTS)]] = ["gguf_q8_0"]
    """Formats of the main chains' checkpoints: `gguf_*` (llama.cpp), `vllm`, or `padded` (a stock
    model of full size)."""
    documents: Count = 16
    """Calibration documents on which an export is compared with transformers before it is saved."""
