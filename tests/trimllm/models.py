"""Tiny random models of every family, and what tests compare."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from trimllm import checkpoint
from trimllm.data import Document, write_documents
from trimllm.sublayers import Unit, adapter_of, drop, unit_layers
from trimllm.train import TrainJob

SIZES = {
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ROTARY = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "initializer_range": 0.2}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**ROTARY, tie_word_embeddings=True, rope_parameters=LLAMA_3),
    "mistral": lambda: MistralConfig(**ROTARY, sliding_window=6),
    "qwen2": lambda: Qwen2Config(
        **ROTARY, use_sliding_window=True, sliding_window=7, max_window_layers=0
    ),
    "qwen3": lambda: Qwen3Config(**ROTARY, head_dim=12),
    "smollm3": lambda: SmolLM3Config(**ROTARY, no_rope_layer_interval=3),
    "phi3": lambda: Phi3Config(**ROTARY, resid_pdrop=0.0),
    "opt": lambda: OPTConfig(
        **SIZES, ffn_dim=48, word_embed_proj_dim=16, init_std=0.2, dropout=0.0
    ),
}
FAMILIES = tuple(CONFIGS)
BLOCKS = 5
DROPPED = {
    "nothing": [],
    "first attention": [Unit(0, "attention")],
    "last mlp": [Unit(4, "mlp")],
    "ends": [Unit(block, kind) for block in (0, 4) for kind in ("attention", "mlp")],
    "unpaired": [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")],
    "all attention": [Unit(block, "attention") for block in range(BLOCKS)],
    "all mlp": [Unit(block, "mlp") for block in range(BLOCKS)],
}
# First and last sublayer gone, attention and MLPs without their partner.
SOME = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")]


def tiny(
    family: str,
    seed: int = 0,
    mlp_width: int | None = None,
    dropped: Iterable[Unit] = (),
    **changed: Any,
) -> nn.Module:
    """A random model whose norms and biases are random too, so that no term can hide. A stock model
    where nothing is `dropped`."""
    torch.manual_seed(seed)
    config = CONFIGS[family]()
    for name, value in changed.items():
        setattr(config, name, value)
    if mlp_width is not None:
        setattr(config, "ffn_dim" if family == "opt" else "intermediate_size", mlp_width)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return drop(model, dropped) if dropped else model


@torch.no_grad()
def zero(model: torch.nn.Module, silenced: Iterable[Unit]) -> torch.nn.Module:
    """Set the output projections of units to zero in place: the oracle of dropping them."""
    adapter, layers = adapter_of(model), dict(unit_layers(model))
    for unit in silenced:
        for parameter in adapter.output_projection(layers[unit], unit.kind).parameters():
            parameter.zero_()
    return model


def some_ids(rows: int = 2, tokens: int = 11, seed: int = 1) -> torch.Tensor:
    """(rows, tokens) ids without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 101, (rows, tokens), generator=generator)


@torch.no_grad()
def logits_of(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the words w0 ... w96, for the tiny models' vocabulary of 101."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{i}": i + 4 for i in range(97)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def random_documents(
    count: int, seed: int = 0, *, choices: int = 3, longest: int = 7
) -> list[Document]:
    """Questions of random words: prompts of two to `longest`, choices of one to three."""
    rng = random.Random(seed)

    def words(low: int, high: int) -> str:
        return "".join(f" w{rng.randrange(97)}" for _ in range(rng.randint(low, high)))

    return [
        Document(
            words(2, longest).strip(),
            tuple(words(1, 3) for _ in range(choices)),
            rng.randrange(choices),
        )
        for _ in range(count)
    ]


def job_folder(
    folder: Path, model: nn.Module, *, dtype: str | None = None, **documents: list[Document]
) -> Path:
    """A folder with a checkpoint, `base`, and a file of documents for each name."""
    checkpoint.save(model, word_tokenizer(), folder / "base", dtype=dtype)
    for name, some in documents.items():
        write_documents(folder / f"{name}.jsonl", some)
    return folder


def train_job(folder: Path, **fields: Any) -> TrainJob:
    """A job on the checkpoint and the documents of a `job_folder`, in so far as it has them."""
    paths = {path.stem: str(path) for path in folder.glob("*.jsonl")}
    return TrainJob(**{"checkpoint": str(folder / "base"), **paths, **fields})


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)
