"""One-pass sensitivity scan; the package itself can be called: `trimllm.scan(...)`."""

from trimllm.base.rooms import make_callable
from trimllm.scan.onepass import Scan, from_record, importance, norm_importance, scan, to_record

make_callable(__name__, scan)
