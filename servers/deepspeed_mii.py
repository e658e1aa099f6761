"""DeepSpeed-MII's OpenAI server: a load balancer, one process per GPU (gRPC, port 50050), and FastAPI in front.

    python servers/deepspeed_mii.py --model DIR --port 8000 --max-model-len 4096

Dynamic SplitFuse is always on; how many sequences it takes at once and how much memory has no flag. The first start
compiles CUDA code. With `--load-balancer HOST:PORT`, a flag of its own, only the HTTP layer is started.
"""

import os
import shutil
import sys

from starting import Refusal, Start, installed, need_folder, read_words, start

words, rest = read_words(__doc__, "deepspeed_mii")
# Forgotten in its own list of requirements, or not pinned there.
NEEDED = ("deepspeed", "deepspeed-kernels", "requests", "setuptools", "uvicorn", "pydantic-settings")


def fill_in() -> Start:
    need_folder(words.model, weights=True)
    missing = [each for each in NEEDED if installed(["deepspeed-mii"]) and not installed([each])]
    if missing:
        raise Refusal(f"DeepSpeed-MII also needs {', '.join(missing)}.", f"pip install {' '.join(missing)}")
    beside = os.path.join(os.path.dirname(sys.executable), "deepspeed")
    if installed(["deepspeed-mii"]) and not (shutil.which("deepspeed") or os.path.exists(beside)):
        raise Refusal("DeepSpeed-MII starts the program `deepspeed`, and there is none.", f"Is it in {beside}?")
    return Start(
        "DeepSpeed-MII",
        "deepspeed_mii",
        [sys.executable, "-m", "mii.entrypoints.openai_api_server"],
        ("deepspeed-mii",),
        ("0.3.3", "0.3"),
        "pip install deepspeed-mii requests setuptools uvicorn pydantic-settings",
        model_is_path=True,
        max_num_seqs=256,  # threads of its load balancer, one a request; its engine would take 512
    )


start(fill_in, words, rest)
