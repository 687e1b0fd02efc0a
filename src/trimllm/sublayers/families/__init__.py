"""How the families compute that trimllm knows, one file each."""

from trimllm.sublayers import modeling_trimllm as trimmed
from trimllm.sublayers.adapters import register
from trimllm.sublayers.families.llama import LlamaAdapter
from trimllm.sublayers.families.opt import OPTAdapter

register(LlamaAdapter(trimmed.TrimLlamaForCausalLM))
register(LlamaAdapter(trimmed.TrimMistralForCausalLM))
register(LlamaAdapter(trimmed.TrimQwen2ForCausalLM))
register(OPTAdapter(trimmed.TrimOPTForCausalLM))
