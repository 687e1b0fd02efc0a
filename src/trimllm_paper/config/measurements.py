"""Keys of what is measured: compressors, tables, evaluation, throughput, engines, exports."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from trimllm.base.names import RULES
from trimllm.compress.methods import METHODS as COMPRESSORS
from trimllm.compress.methods import default_engine
from trimllm.exporting.formats import VARIANTS
from trimllm.throughput.formats import FORMATS
from trimllm.throughput.shapes import SHAPES
from trimllm_paper.config import parts
from trimllm_paper.config.parts import GONE, Among, Count, Name, Percent, Section, Some, Unique, key

Method = Annotated[str, Among(COMPRESSORS)]
Kernel = Annotated[str, Among([name for name in COMPRESSORS if name != "llm_pruner"])]
"""A compressor with a kernel of its own."""
Format, Variant = Annotated[str, Among(FORMATS)], Annotated[str, Among(VARIANTS)]
Shape, Rule = Annotated[str, Among(SHAPES)], Annotated[str, Among(RULES)]
Awq = Annotated[str, Among(COMPRESSORS["awq_int4"].engines)]
Gptq = Annotated[str, Among(COMPRESSORS["gptq_int4"].engines)]
Tokens = Annotated[int, Field(ge=1, le=4096)]
Hardware = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]
PatternName = Annotated[str, Field(pattern="^[a-z][a-z0-9]*$")]
PAPERS: list[str] = ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"]
"""The compressors of the paper's Table 2."""


def _group_size(size: int) -> int:
    if size not in (32, 64, 128):
        raise parts.wrong([], "must be 32, 64 or 128")
    return size


def _folder(text: str) -> str:
    if not text.strip(".0123456789"):
        raise parts.wrong([], "must be a folder, or a share from 0 to 1")
    return text


GroupSize = Annotated[int, AfterValidator(_group_size)]
Pattern = Annotated[
    Annotated[float, Field(ge=0, le=1)] | Annotated[parts.Text, AfterValidator(_folder)],
    Field(union_mode="left_to_right"),
]


class Engines(Section):
    RETIRED: ClassVar = dict.fromkeys(("llm_int8", "llm_pruner", "sparsegpt_2_4"), GONE)
    awq_int4: Awq = key("autoawq has an environment of its own (`make envs`).", "llmcompressor")
    gptq_int4: Gptq = key("auto-gptq has an environment of its own.", "gptqmodel")


class Compress(Section):
    methods: Unique[Method] = key("Compressors of full_ft, one row of Table 2 each.", PAPERS)
    engines: Engines = key("Which implementation compresses.", Engines())
    group_size: GroupSize = key("Weights a scale in int4: 32, 64, 128; divides the widths.", 128)
    kept: parts.Share = key("Share of the sublayers' parameters that llm_pruner keeps.", 0.5)
    calibration_documents: int = key("Training documents to calibrate on.", 128, ge=8)
    held_back_documents: int = key("Most documents that a result is verified on.", 48, ge=4)
    max_tokens: int = key("Tokens of a calibration row.", 512, ge=16)

    def engine(self, method: str) -> str:
        """The engine of a compressor."""
        return getattr(self.engines, method, None) or default_engine(method)


class Tables(Section):
    RETIRED: ClassVar = {"layouts": GONE}
    models: Unique[Name] | None = key("Models of Tables 3 to 6 and 9; null: all.", None)
    domains: Unique[Name] | None = key("Domains of Tables 3 and 6; null: all.", None)
    criteria: Some[parts.Criterion] = key(
        "Criteria of Tables 3 and 6.", ["calibration", "activation_norm", "both", "likelihood"]
    )
    rules: Unique[Rule] = key("Rules in Table 3 that drop half of the blocks at once.", [*RULES])
    ratios: Some[parts.Share] = key("Sparse update ratios of Table 6.", [1, 0.5, 0.25, 0.125])
    smallest_percent: Percent | None = key("Where Tables 3 and 6 end; null: 50, or all.", None)
    cross_percent: Percent | None = key("Kept percent of Tables 4 and 5; null: 40.", None)
    near: dict[Name, Name] = key("Domain: near domain on which Table 4 tests its models.", {})


class Evaluate(Section):
    documents: Count | None = key("Test documents of a task; null: all.", None)
    batch_tokens: int = key("Tokens of one forward pass; bounds memory.", 2048, ge=64)
    answer_tokens: Count = key("Most tokens generated for a free answer.", 128)


class ThroughputSection(Section):
    RETIRED: ClassVar = {"prefills": "was replaced by throughput.repeats"}
    checkpoints: bool = key("Time checkpoints of `models`; false: shapes, without training.", True)
    shapes: Unique[Shape] = key("Architectures that are timed with random weights.", [])
    kept_percent: Some[Percent] = key("Percent of sublayers that trimmed shapes keep.", [50, 40])
    patterns: dict[PatternName, Pattern] = key(
        "Share of attention among a shape's drops, or folder of a chain.",
        {"half": 0.5},
        min_length=1,
    )
    compressors: Unique[Kernel] = key(
        "Compressors of the full model.", ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"]
    )
    composed: Unique[Kernel] = key("Those of a trimmed shape, too.", ["sparsegpt_2_4", "awq_int4"])
    group_size: GroupSize = key("Weights a scale in int4 layers of shapes.", 128)
    domain: str | None = key("Domain whose checkpoints are timed; null: the first.", None)
    tokens: int = key("Prompt and generated tokens together.", 512, ge=2, le=4096)
    generate: Count = key("Tokens generated in a round.", 32)
    repeats: Count = key("Timed rounds, after one for warm-up.", 6)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = key("Type of weights.", "auto")
    threads: Count | None = key("Threads on a CPU; null: all of `--cores`.", None)
    compiled: bool = key("Also time everything with torch.compile.", False)
    hardware: Hardware | None = key("Name of the measuring machine; null: this one.", None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.composed:
            if name not in self.compressors:
                raise parts.wrong(["composed"], f"{name} is not among `throughput.compressors`")
        if self.generate >= self.tokens:
            problem = f"must be less than throughput.tokens = {self.tokens}"
            raise parts.wrong(["generate"], problem)
        return self


class EnginesSection(Section):
    RETIRED: ClassVar = {"drafts": GONE}
    formats: Some[Format] = key(
        "Formats that are measured, as far as their engines are installed.",
        ["transformers", "llm_int8", "awq_int4", "gguf_f16", "gguf_q8_0", "gguf_q4_0", "vllm"],
    )
    kept_percent: Some[Percent] | None = key("Of `trim.kept_percent`; null: all.", None)
    least_percent: dict[Format, Percent] = key("Smallest kept percent by format.", {})
    batches: Some[Count] = key("Batch sizes.", [1, 8])
    prompt: Tokens = key("Tokens of a prompt.", 256)
    generate: Count = key("Tokens generated in a round.", 32)
    repeats: Count = key("Timed rounds, after one for warm-up.", 6)


class Export(Section):
    formats: Unique[Variant] = key("Formats of the main chains' checkpoints.", ["gguf_q8_0"])
    documents: Count = key("Documents that an export is verified on.", 16)
