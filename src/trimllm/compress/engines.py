"""AWQ, GPTQ, SparseGPT and LLM.int8() by the engines that implement them."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.precision import has_bfloat16
from trimllm.base.workers import environment, python_of, run_worker
from trimllm.checkpoint import store
from trimllm.checkpoint.stock import layers_prefix, missing_modules, strip, to_stock
from trimllm.compress.methods import EXTERNAL, CompressSettings
from trimllm.compress.rounding import pack_awq

# Points of the grid for alpha of AWQ; the paper's 20 take twice the time.
GRID = 10


@dataclass
class Compressed:
    """Tensors of a checkpoint by name, surviving sublayers only, and changed keys of its config."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # for the record
    engine_version: str | None = None  # of an external engine


@dataclass
class CompressJob:
    """A dense model in float32 on the host, plain or trimmed, which a compressor may change, and
    what to calibrate it with."""

    model: nn.Module
    tokenizer: Any
    texts: Sequence[str]
    engine: str
    settings: CompressSettings
    workspace: Path  # an empty folder for intermediate files

    def rows(self) -> Tensor:
        """The texts end to end, cut into rows of one length, as engines want them: (rows, 1, at
        most `max_tokens`). Fewer tokens than there are rows are lost."""
        ids = torch.tensor([i for text in self.texts for i in self.tokenizer(text).input_ids])
        if not len(ids):
            raise UserError("the calibration texts hold no tokens; give real texts")
        count = -(-len(ids) // self.settings.max_tokens)
        return ids[: len(ids) // count * count].view(count, 1, -1)

    def batches(self) -> list[dict[str, Tensor]]:
        """The rows, one a batch, as llmcompressor and gptqmodel read them."""
        return [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in self.rows()]

    def stock(self) -> tuple[nn.Module, list[str]]:
        """The model as a stock one of the same weights, and the modules that it lacks."""
        return to_stock(self.model, self.settings.seed), missing_modules(self.model)

    def write(self, model: nn.Module) -> str:
        """Write a model for an engine that reads checkpoints, and free its weights."""
        (dense := self.workspace / "dense").mkdir()
        store.write(model, self.tokenizer, dense)
        model.to("meta")
        self.model.to("meta")
        return str(dense)


def linear_names(model: nn.Module, missing: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Names of the linear layers that compressors change (those in decoder layers, except what
    `missing` names), and of all others."""
    prefix, gone = layers_prefix(model) + ".", tuple(f"{name}." for name in missing)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    # OPT's MLP is two layers, each missing under its own name.
    changed = [n for n in linears if n.startswith(prefix) and not f"{n}.".startswith(gone)]
    return changed, [name for name in linears if name not in changed]


def external(job: CompressJob) -> Compressed:
    """The stock model quantized by an engine in an environment of its own."""
    (stock, missing), settings = job.stock(), job.settings
    rows, output = job.rows()[:, 0].tolist(), str(job.workspace / "output.safetensors")
    variables = environment(settings.threads, isolated=True)
    if settings.device == "cpu":  # the engines take a GPU wherever they see one
        variables["CUDA_VISIBLE_DEVICES"] = ""
    work = {"engine": job.engine, "dense": job.write(stock), "rows": rows, "output": output}
    version, quantization = run_worker(
        Path(__file__).with_name("external_worker.py"),
        work | asdict(settings),
        name=job.engine,
        python=python_of(EXTERNAL[job.engine], "envs"),
        variables=variables,
    )
    tensors = strip(load_file(output), missing)
    return Compressed(tensors, {"quantization_config": quantization}, engine_version=version)


def one_shot(job: CompressJob, stock: nn.Module, recipe: list[Any]) -> dict[str, Tensor]:
    """Run a recipe of llmcompressor on a stock model, which stays on the host; the block at work
    visits the job's device. Returns its tensors; the model is then empty."""
    from compressed_tensors.offload import remove_dispatch
    from compressed_tensors.utils import patch_attr
    from llmcompressor import oneshot
    from llmcompressor.core import active_session
    from llmcompressor.pipelines.cache import IntermediatesCache
    from llmcompressor.pipelines.sequential import pipeline
    from loguru import logger

    logger.disable("llmcompressor")
    device, batches = torch.device(job.settings.device), job.batches()
    # Pinned memory is a GPU's; without one torch raises.
    pin = IntermediatesCache.pin_memory if device.type == "cuda" else lambda *_: None
    # It has no argument for the device: it takes the first GPU wherever there is one.
    with (
        patch_attr(pipeline, "get_main_device", lambda: device),
        patch_attr(IntermediatesCache, "pin_memory", pin),
    ):
        try:
            oneshot(
                model=stock,
                processor=job.tokenizer,
                dataset=torch.utils.data.DataLoader(batches, batch_size=None),
                recipe=recipe,
                num_calibration_samples=len(batches),
                pipeline="sequential",
            )
        finally:
            active_session().reset()  # it would keep the model
    remove_dispatch(stock)
    tensors = stock.state_dict()
    # torch.fx, which llmcompressor traces blocks with, never lets go of a traced model.
    stock.to("meta")
    return tensors


def awq_int4(job: CompressJob) -> Compressed:
    """AWQ, activation-aware four-bit weights (Lin et al. 2024, arXiv:2306.00978). Input channels
    with large activations are scaled up before weights are rounded, and the layer before them is
    scaled down: s = a^alpha, alpha from a grid, smallest error of the block's output. Stored in
    AWQ's GEMM format, whichever engine made it, so that int4 kernels read it."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    (stock, missing), size = job.stock(), job.settings.group_size
    linears, others = linear_names(stock, missing)
    untouched = linear_names(stock)[1]
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=size)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    recipe = [
        AWQModifier(mappings=_mappings(stock), n_grid=GRID),
        # For its scheme alone, which the search rounds by.
        QuantizationModifier(config_groups={"sublayers": scheme}, ignore=others),
    ]
    fast = job.settings.device == "cpu" and has_bfloat16()
    # The search changes weights in place: a cache would hand it the first ones each time.
    with torch.autocast("cpu", torch.bfloat16, enabled=fast, cache_enabled=False):
        tensors = strip(one_shot(job, stock, recipe), missing)
    for name in linears:
        del tensors[f"{name}.weight_scale"], tensors[f"{name}.weight_zero_point"]
        packed = pack_awq(tensors.pop(f"{name}.weight"), size)
        tensors |= {f"{name}.{key}": part for key, part in packed.items()}
    quantization = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True}
    quantization |= {"version": "gemm", "modules_to_not_convert": untouched}
    return Compressed(tensors, {"quantization_config": quantization})


def _mappings(stock: nn.Module) -> list[Any]:
    """Layers that AWQ scales down and the layers behind them; llmcompressor lacks OPT's."""
    from llmcompressor.modifiers.transform.awq.mappings import AWQMapping, default_mappings

    if stock.config.model_type != "opt":
        return default_mappings
    return [
        AWQMapping("re:.*self_attn_layer_norm$", [f"re:.*{x}_proj$" for x in "qkv"]),
        AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
        AWQMapping("re:.*layers.*final_layer_norm$", ["re:.*fc1$"]),
        AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
    ]


def gptq_int4(job: CompressJob) -> Compressed:
    """GPTQ four-bit weights (Frantar et al. 2023, arXiv:2210.17323), rounded column by column; the
    error of each is made up for in the columns that follow, by the inverse Hessian H = 2 X X^T of
    the layer's inputs."""
    # Packing in Python takes a second; the extension would have to be compiled here.
    os.environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")
    kernels.prepare()
    from gptqmodel import GPTQModel, QuantizeConfig

    stock, missing = job.stock()
    config = QuantizeConfig(
        bits=4,
        group_size=job.settings.group_size,
        sym=False,
        desc_act=False,
        offload_to_disk=False,
        device=job.settings.device,
        dynamic={rf"-:^{name.replace('.', r'[.]')}([.]|$)": {} for name in missing} or None,
    )
    engine = GPTQModel.load(job.write(stock), config, dtype=torch.float32)
    engine.quantize(job.batches(), batch_size=1)
    engine.save(str(output := job.workspace / "output"))
    engine.model.to("meta")
    tensors: dict[str, Tensor] = {}
    for path in sorted(output.glob("*.safetensors")):
        tensors |= load_file(path)
    quantization = files.read_json(output / "config.json")["quantization_config"]
    # Skipped modules do not matter once they are gone, nor do folders of this run.
    quantization.pop("dynamic", None)
    quantization.get("meta", {}).pop("offload_to_disk_path", None)
    return Compressed(strip(tensors, missing), {"quantization_config": quantization})


def sparsegpt_2_4(job: CompressJob) -> Compressed:
    """SparseGPT, two of every four weights zero (Frantar & Alistarh 2023, arXiv:2301.00774): pruned
    column by column, the others updated by the inverse Hessian of the layer's inputs. The file
    stays dense: the pattern pays on GPUs that have sparse tensor cores."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    stock, missing = job.stock()
    # By name: `ignore` is compared with invented names ("lm_head."), so that an ignored head would
    # be pruned, and with it the embeddings that it is tied to.
    targets = linear_names(stock, missing)[0]
    modifier = SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=targets)
    return Compressed(strip(one_shot(job, stock, [modifier]), missing))


@torch.no_grad()
def llm_int8(job: CompressJob) -> Compressed:
    """LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): eight-bit weights, a scale a row; input
    channels above a threshold are multiplied in 16 bits. The engine replaces linear layers one by
    one, so it takes trimmed models as they are."""
    untouched = linear_names(job.model)[1]
    model = AutoModelForCausalLM.from_pretrained(
        job.write(job.model),
        quantization_config=BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=untouched),
        dtype=torch.float32,
        device_map={"": job.settings.device},
        local_files_only=True,
    )
    # The engine rounds a layer when it first moves or runs.
    model(torch.ones(1, 2, dtype=torch.long, device=model.device))
    quantization = model.config.to_dict()["quantization_config"]
    return Compressed(model.state_dict(), {"quantization_config": quantization})
