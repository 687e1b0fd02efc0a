"""K-quants, by llama.cpp's own quantizer out of the wheel that it comes in.

The `gguf` package reads them and cannot make them. Of the types that it can make, the bytes are the
same as its own.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from trimllm.base.errors import UserError
from trimllm.exporting.formats import LLAMA_CPP, require_llama_cpp

K_TYPES = {Type.Q4_K: Type.Q5_0, Type.Q6_K: Type.Q8_0}
"""Types with blocks of 256, and what llama.cpp takes where rows do not hold whole ones."""


@cache
def _quantizer() -> ctypes._FuncPointer:
    """ggml_quantize_chunk(type, from, to, start, rows, row width, importance) -> bytes."""
    require_llama_cpp()
    spec = importlib.util.find_spec(LLAMA_CPP)
    places = spec.submodule_search_locations if spec else None
    for file in Path((places or [""])[0]).glob(f"{LLAMA_CPP}*.so"):
        found = getattr(ctypes.CDLL(str(file)), "ggml_quantize_chunk", None)
        if found is not None:
            number, place = ctypes.c_int64, ctypes.c_void_p
            found.argtypes = [ctypes.c_int, place, place, number, number, number, place]
            found.restype = ctypes.c_size_t
            return found
    raise UserError(f"this build of {LLAMA_CPP} offers no quantizer; export gguf_q4_0 or gguf_q8_0")


def quantize(content: np.ndarray, kind: Type) -> np.ndarray:
    """Rows of numbers (rows, width), float32, as (rows, bytes) of a type; `width` in whole blocks.

    Raises `UserError` where llama.cpp is missing, or offers no quantizer.
    """
    rows, width = content.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    given = np.ascontiguousarray(content, dtype=np.float32)
    made = np.empty((rows, width // block * size), dtype=np.uint8)
    _quantizer()(int(kind), given.ctypes.data, made.ctypes.data, 0, rows, width, None)
    return made
