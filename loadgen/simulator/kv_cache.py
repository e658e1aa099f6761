"""The paged KV cache as a budget of blocks: who holds how many, never which ones.

Counting is enough to reproduce admission and preemption. Nothing here decides who gives way; that is batching's.
"""

from loadgen.simulator.sequence import Sequence

BLOCK_TOKENS = 16  # vLLM's default block


class BlockPool:
    """`blocks` blocks of 16 tokens. Always: free + the blocks held by all sequences = blocks."""

    def __init__(self, blocks: int) -> None:
        if blocks < 1:
            raise ValueError("a KV cache has at least one block")
        self.blocks = blocks
        self.free = blocks

    @property
    def usage(self) -> float:
        """The share of the cache in use, 0 … 1."""
        return 1 - self.free / self.blocks

    def holds(self, tokens: int) -> bool:
        """Whether a sequence of `tokens` fits when it is alone."""
        return tokens <= self.blocks * BLOCK_TOKENS

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Give `sequence` the blocks for `tokens` tokens in all; False, and nothing taken, when too few are free."""
        missing = -(-tokens // BLOCK_TOKENS) - sequence.blocks
        if missing > self.free:
            return False
        if missing > 0:
            self.free -= missing
            sequence.blocks += missing
        return True

    def release(self, sequence: Sequence) -> None:
        """Take back everything `sequence` holds."""
        self.free += sequence.blocks
        sequence.blocks = 0
