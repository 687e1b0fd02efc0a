"""One-pass sensitivity scan; the package itself can be called: `trimllm.scan(...)`."""

from trimllm.rooms import make_callable
from trimllm.scan.onepass import Scan, importance, norm_importance, scan

__all__ = ["Scan", "importance", "norm_importance", "scan"]

make_callable(__name__, scan)
