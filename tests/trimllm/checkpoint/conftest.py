import pytest
from models import FAMILIES, SOME, tiny, word_tokenizer

from trimllm import checkpoint


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A trimmed checkpoint of every family; not to be written into."""
    root, tokenizer = tmp_path_factory.mktemp("trimmed"), word_tokenizer()
    return {
        family: checkpoint.save(tiny(family, dropped=SOME), tokenizer, root / family)
        for family in FAMILIES
    }
