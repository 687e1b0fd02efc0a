"""One-pass sensitivity scan; the package itself can be called: `trimllm.scan(...)`."""

from trimllm.base.rooms import make_callable
from trimllm.scan.onepass import Scan, importance, norm_importance, scan
from trimllm.scan.record import from_record, to_record

make_callable(__name__, scan)
