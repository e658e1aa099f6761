"""Our Triton kernels in its interpreter, which needs no GPU. It cannot multiply bf16 matrices: attention is in fp16."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
from loadgen.profile import triton_kernels
from loadgen.profile.attention import reference
from loadgen.profile.bench import open_bench
from loadgen.profile.caches import make_cache
from loadgen.profile.kernels import KERNELS
from loadgen.profile.selftest import _error, _tensors

bench = open_bench("cpu")
bench.triton = True
for name, dims in {
    "rope, triton": (5, 9, 4, 2, 64),
    "paged write, triton": (3, 2, 37, 4, 2, 64),
    "add & norm, triton": (5, 192, False),
    "swish & multiply, triton": (5, 192),
}.items():
    probe = KERNELS[name].build(bench, *dims)
    expected = _tensors(probe.reference())
    print(name, _error(bench, _tensors(probe.run()), expected), sep=": ")
for heads, kv_heads, context, batch in ((4, 4, 205, 3), (4, 2, 64, 1), (8, 1, 1000, 2), (40, 8, 17, 2)):
    cache, query = make_cache("paged", bench, batch, 1, context, kv_heads, 64), bench.normal(batch, heads, 1, 64)
    pages = cache.held()
    expected = reference(bench, query, *cache.read(pages))
    found = triton_kernels.paged_attention(query.half(), pages[0].half(), pages[1].half(), cache.table, context)
    print(f"paged attention {heads} {kv_heads} {context}", _error(bench, [found], [expected]), sep=": ")
"""


def test_each_kernel_agrees_with_float32(torch):
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    errors = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert len(errors) == 8
    assert all(float(error) < 0.01 for error in errors.values()), errors
    assert errors["paged write, triton"] == "0.0"
