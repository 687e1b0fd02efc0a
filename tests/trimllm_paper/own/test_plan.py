"""Sizes by how many documents there are, and budgets by the pipeline's own plan."""

from configurations import configuration
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.kept import drops_for
from trimllm_paper.own import plan
from trimllm_paper.plan import Job


@given(st.integers(plan.FEWEST, 10**6), st.integers(2, 100))
def test_splits_leave_documents_to_train_on(documents: int, blocks: int) -> None:
    sizes = plan.sizes(documents, blocks)
    assert documents - sizes.tests - sizes.held_back - sizes.pool >= documents / 4
    assert sizes.scanned <= sizes.pool and sizes.held_back >= 12
    drops = [drops_for(kept, 2 * blocks, sizes.step) for kept in sizes.kept_percent]
    # every checkpoint is the end of an epoch, and they differ
    assert None not in drops and len(set(drops)) == len(drops) and 0 not in drops


PLACE = {"model": "smollm2-135m", "domain": "sciq"}
JOBS = [
    Job("full_ft", PLACE),
    Job("trim_epoch", PLACE | {"name": "ours", "drop": "06"}),
    Job("settle_kept", PLACE | {"name": "ours", "drop": "30"}),
    Job("own_report", {"model": "smollm2-135m"}),
]


def test_more_time_takes_more_documents() -> None:
    config = configuration("config")
    plans = [plan.fitted(JOBS, config, 4000, minutes) for minutes in (0.1, 5, 20, 60, 10**6)]
    documents = [one.documents for one in plans]
    assert documents == sorted(documents)
    assert documents[0] == plan.LEAST and documents[-1] == 4000
    for minutes, one in zip((5, 20, 60), plans[1:4], strict=True):
        assert one.minutes <= minutes or one.documents == plan.LEAST
    assert plans[0].minutes > 0 and plans[0].mib > 1000
