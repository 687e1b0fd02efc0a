"""Free answers in lm-eval: greedy generation, compared with the reference answer.

Three comparisons, each 0 to 1 a document: lm-eval's `exact_match` (letter case and punctuation
aside), SQuAD's F1 of the words that both have, and ROUGE-L, the F1 of the longest common
subsequence of words. The words of ROUGE are those of `rouge_score`: Latin letters and digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from lm_eval.api.metrics import exact_match_hf_evaluate
from rouge_score.rouge_scorer import RougeScorer
from transformers.data.metrics.squad_metrics import compute_f1

from trimllm.data import Document
from trimllm.evaluate.tasks import task_of

METRICS = ("exact_match", "token_f1", "rouge_l")


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"])


def compared(said: str, reference: str) -> dict[str, float]:
    """What `METRICS` say of a generated answer."""
    said, reference = said.strip(), reference.strip()
    same = exact_match_hf_evaluate([said], [reference], ignore_case=True, ignore_punctuation=True)
    return {
        "exact_match": float(same["exact_match"]),
        "token_f1": float(compute_f1(reference, said)),
        "rouge_l": float(_rouge().score(reference, said)["rougeL"].fmeasure),
    }


def task_of_answers(name: str, documents: Sequence[Document], most: int) -> dict[str, Any]:
    """An lm-eval task over documents with free answers.

    Generation ends with EOS, after `most` tokens, and where no reference answer goes on: at a line
    break if none has one, at an empty line if none has that.

    Args:
        documents: as the model's chat template renders them, if it does.
    """
    rows = [{"prompt": one.prompt, "reference": one.choices[0]} for one in documents]
    ends = ("\n", "\n\n")
    answers = [row["reference"].strip() for row in rows]
    until = [end for end in ends if not any(end in answer for answer in answers)]

    def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        return compared(results[0], doc["reference"])

    return task_of(name, rows, METRICS) | {
        "output_type": "generate_until",
        "doc_to_target": "{{reference}}",
        # The first is enough: an empty line begins with a line break.
        "generation_kwargs": {"until": until[:1], "max_gen_toks": most, "do_sample": False},
        "process_results": process_results,
    }
