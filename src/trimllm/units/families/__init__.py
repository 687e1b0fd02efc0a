"""How the families compute that trimllm knows, one file each."""

from trimllm.units import modeling_trimllm as trimmed
from trimllm.units.adapters import register
from trimllm.units.families.llama import LlamaAdapter
from trimllm.units.families.opt import OPTAdapter

register(LlamaAdapter(trimmed.TrimLlamaForCausalLM))
register(LlamaAdapter(trimmed.TrimMistralForCausalLM))
register(LlamaAdapter(trimmed.TrimQwen2ForCausalLM))
register(OPTAdapter(trimmed.TrimOPTForCausalLM))
