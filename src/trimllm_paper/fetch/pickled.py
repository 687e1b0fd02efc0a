"""Weights that exist as `pytorch_model.bin` only, as OPT's pinned revisions do: converted once.

A pickle can run any code when it is read. `torch.load(weights_only=True)` builds tensors and no
other objects, and refuses what holds more; each file's sha256 is checked before it is opened. What
is converted is read by everything else as safetensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.fetch.archives import check_sha256

STEM = "pytorch_model"
BESIDE = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")
"""What a checkpoint holds beside its weights."""


def is_pickled(folder: Path) -> bool:
    """Whether a checkpoint has its weights as pickles alone."""
    return not any(folder.glob("*.safetensors")) and any(folder.glob(f"{STEM}*.bin"))


def convert(source: Path, target: Path, sha256: Mapping[str, str]) -> dict[str, str]:
    """Write a checkpoint's pickled weights as safetensors, with all that lies beside them.

    Args:
        source: folder with `pytorch_model.bin`, or its parts.
        target: an existing empty folder.
        sha256: what the files must have, by name; all of them.

    Returns:
        File -> its sha256, for the provenance.

    Raises:
        UserError: a file without a known sha256 or with another one, one that cannot be read, or
            that holds more than tensors.
    """
    shards = sorted(source.glob(f"{STEM}*.bin"))
    where: dict[str, str] = {}
    checked: dict[str, str] = {}
    for shard in shards:
        if shard.name not in sha256:
            raise UserError(
                f"{shard} is a pickle, and no sha256 of it is known; name it in the configuration: "
                f"source: {{..., sha256: {{{shard.name}: {files.sha256_of(shard)}}}}}, if that is "
                "what its publisher says"
            )
        check_sha256(shard, sha256[shard.name], "fetch it again")
        checked[shard.name] = sha256[shard.name]
        tensors = _tensors(shard)
        name = shard.name.replace(STEM, "model").removesuffix(".bin") + ".safetensors"
        # Tied weights are one memory in a pickle, and each its own here.
        copies = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
        save_file(copies, target / name, metadata={"format": "pt"})
        where |= dict.fromkeys(copies, name)
    if len(shards) > 1:
        index = {"metadata": {}, "weight_map": where}
        files.write_json(target / "model.safetensors.index.json", index)
    for pattern in BESIDE:
        for path in source.glob(pattern):
            if not path.name.startswith(STEM):
                (target / path.name).write_bytes(path.read_bytes())
    return checked


def _tensors(shard: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickle by name."""
    try:
        found = torch.load(shard, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{shard} holds more than tensors and is not read") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{shard} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"{shard} holds something other than weights by name")
    return found
