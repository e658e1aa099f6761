"""DeepSpeed-MII behind its HTTP layer, without a GPU: `PYTHON mii_backend.py MODEL PORT PORT`, until its stdin ends.

Run by MII's own Python. Its load balancer, its gRPC server, its scheduler, its rule when an answer ends and its
tokenizer are the real ones; only DeepSpeed's engine, which computes the logits on a GPU, is stood in for: it wants to
end every answer after three tokens, so that whoever gets more has forced them. The first port is the load balancer's.
Prints how many requests it computed at once at most.
"""

import os
import sys
import threading

import torch
from deepspeed.inference import RaggedInferenceEngineConfig
from mii.batching import MIIAsyncPipeline
from mii.config import ModelConfig
from mii.grpc_related.modelresponse_server import serve_inference, serve_load_balancing
from mii.modeling.tokenizers import load_tokenizer

STEP_S = 0.005
TOKENS_UNTIL_END = 3


class Engine:
    """What MII's scheduler asks of DeepSpeed's InferenceEngineV2. There is always room in its KV cache."""

    def __init__(self, vocabulary: int, eos: int, word: int) -> None:
        self._config = RaggedInferenceEngineConfig()
        self._vocabulary, self._eos, self._word = vocabulary, eos, word
        self._steps: dict[int, int] = {}
        self._never = threading.Event()  # a step takes its time
        self.most_at_once = 0

    @property
    def free_blocks(self) -> list[int]:
        return [1_000_000]

    def query(self, uid: int, tokens: int, blocks: int) -> tuple[int, int]:
        return tokens, 1

    def get_remaining_block_capacity(self, uid: int) -> int:
        return 1

    def put(self, uids: list[int], tokens: list[torch.Tensor], do_checks: bool) -> torch.Tensor:
        """Logits float32[requests, vocabulary]: the same word again and again, from the third token on the end."""
        self._never.wait(STEP_S)
        self.most_at_once = max(self.most_at_once, len(uids))
        logits = torch.full((len(uids), self._vocabulary), -100.0)
        for row, uid in enumerate(uids):
            self._steps[uid] = self._steps.get(uid, 0) + 1
            logits[row, self._eos if self._steps[uid] > TOKENS_UNTIL_END else self._word] = 100.0
        return logits

    def flush(self, uid: int) -> None:
        self._steps.pop(uid, None)


def main(model: str, front: int, behind: int) -> None:
    torch.cuda.synchronize = lambda: None  # asked for once, with or without a GPU
    replica = {"hostname": "127.0.0.1", "tensor_parallel_ports": [behind]}
    config = ModelConfig(model_name_or_path=model, max_length=1024, zmq_port_number=0, replica_configs=[replica])
    tokenizer = load_tokenizer(config)
    word = int(tokenizer.encode(" the")[-1])
    engine = Engine(tokenizer.vocab_size, tokenizer.eos_token_id, word)
    pipeline = MIIAsyncPipeline(inference_engine=engine, tokenizer=tokenizer, model_config=config)
    threading.Thread(target=serve_inference, args=(pipeline, behind), daemon=True).start()
    threading.Thread(target=end_with_stdin, args=(engine,), daemon=True).start()
    serve_load_balancing(config, front)  # for ever; it wants the main thread


def end_with_stdin(engine: Engine) -> None:
    sys.stdin.read()
    sys.stdout.write(f"at once: {engine.most_at_once}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
