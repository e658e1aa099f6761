"""Lets the tests here import `scripted` from beside them and `real` from among them; a model for real engines."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "wire"), str(Path(__file__).parent)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated model's folder, with model.gguf in it; the test is skipped without what writes one."""
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    from loadgen.tinymodel.shape import find_shape
    from loadgen.tinymodel.write import write_model

    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_model(folder, find_shape("tiny", context=1024), gguf=True)
    return folder
