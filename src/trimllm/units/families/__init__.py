"""How the families compute that trimllm knows, one file each."""

from trimllm.units.adapters import register
from trimllm.units.families.llama import LlamaAdapter
from trimllm.units.families.opt import OPTAdapter
from trimllm.units.modeling_trimllm import TRIM_CLASSES

for family, trimmed in TRIM_CLASSES.items():
    register((OPTAdapter if family == "opt" else LlamaAdapter)(trimmed))
