"""Hugging Face's `transformers serve`, with continuous batching unless told otherwise.

    python servers/transformers.py --model DIR --port 8000 [--no-continuous-batching]

Requests must name the model by the very text given here. Without continuous batching it answers one request at a time.
"""

from starting import Refusal, Start, console_script, installed, need_folder, read_words, start

CHOICES = (
    ("--no-continuous-batching", {"dest": "one_by_one", "action": "store_true", "help": "one request at a time"}),
)
words, rest = read_words(__doc__, "transformers", CHOICES)
NEEDED = ("torch", "accelerate", "fastapi", "uvicorn", "openai", "pydantic", "requests")  # no extra names the last one


def fill_in() -> Start:
    need_folder(words.model, weights=True)
    missing = [each for each in NEEDED if installed(["transformers"]) and not installed([each])]
    if missing:
        raise Refusal(
            f"transformers serve also needs {', '.join(missing)}.", "pip install 'transformers[serving]' requests"
        )
    if words.max_num_seqs is not None:
        if words.max_num_seqs != "1":
            raise Refusal(
                "transformers serve has nothing like --max-num-seqs.", "1 is understood: no continuous batching."
            )
        words.one_by_one, words.max_num_seqs = True, None
    always = ["--log-level", "warning"]
    if words.one_by_one:
        words.gpu_memory_utilization = words.max_num_batched_tokens = None
    else:
        always += ["--continuous-batching"]
        if words.device == "cpu" and "--cb-num-blocks" not in rest:
            always += ["--cb-num-blocks", "256"]  # else the first request takes a minute: it sizes the cache by memory
        if words.device == "cpu" and words.max_num_batched_tokens is None:
            words.max_num_batched_tokens = "512"
    if words.device == "cuda":
        words.device = "cuda:0"
    return Start(
        "transformers serve",
        "transformers",
        [*console_script("transformers", "transformers"), "serve"],
        ("transformers",),
        ("5.17", "5.23"),
        "pip install 'transformers[serving]' requests",
        always,
        {"HF_HUB_OFFLINE": "1"} if words.model.startswith((".", "/")) else {},
        model_is_path=True,
        max_num_seqs=1 if words.one_by_one else None,
    )


start(fill_in, words, rest)
