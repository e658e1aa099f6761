"""The KV cache as a budget of blocks: who holds how many, never which ones.

Counting is enough to reproduce admission, preemption and fragmentation. The strategies differ in one number, the
tokens of a block: 16 are vLLM's pages, 64 DeepSpeed's blocks, and a block as long as the longest sequence is a
reservation of the maximum length. Nothing here decides who gives way; that is batching's.
"""

BLOCK_TOKENS = 16  # vLLM's default block
STRATEGIES: dict[str, int | None] = {"paged": BLOCK_TOKENS, "blocked": 64, "reserved": None}  # None: max_model_len


class BlockPool:
    """`blocks` blocks of `block_tokens` tokens. Always: free + the blocks held by all sequences = blocks.

    `promised` blocks are those that a policy without eviction has promised, taken already or not.
    """

    def __init__(self, blocks: int, block_tokens: int = BLOCK_TOKENS) -> None:
        if blocks < 1:
            raise ValueError("a KV cache has at least one block")
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.free = blocks
        self.promised = 0

    @property
    def usage(self) -> float:
        """The share of the cache in use, 0 … 1."""
        return 1 - self.free / self.blocks

    @property
    def held_tokens(self) -> int:
        """Tokens for which there is room in the blocks that are taken."""
        return (self.blocks - self.free) * self.block_tokens

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def holds(self, tokens: int) -> bool:
        """Whether a sequence of `tokens` fits when it is alone."""
        return self.blocks_for(tokens) <= self.blocks
