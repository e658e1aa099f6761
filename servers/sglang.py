"""SGLang's OpenAI server.

python servers/sglang.py --model DIR --port 8000 --max-model-len 4096 --no-enable-prefix-caching
"""

import sys

from starting import Start, need_folder, read_words, start

words, rest = read_words(__doc__, "sglang")


def fill_in() -> Start:
    need_folder(words.model, weights=not words.dummy_weights)
    return Start(
        "SGLang",
        "sglang",
        [sys.executable, "-m", "sglang.launch_server"],
        ("sglang",),
        ("0.5.11", "0.5.23"),
        "pip install sglang",
        ["--enable-metrics", "--stream-interval", "1", "--log-level", "warning"],
        max_num_seqs=256,
    )


start(fill_in, words, rest)
