"""THE table of batching policies: which sequences compute what in the next step, a plain function each.

Each has the limits of the engine that made it known, so that a policy can be compared as it was deployed. A policy
looks at the batch and moves sequences by its methods; it must never know how long a step takes.
"""

from loadgen.simulator.batching import Batch, Policy, Step

PADDING_MAX = 256  # vLLM 0.2.7's max_paddings, in tokens
WATERMARK = 0.01  # the share of the cache that vLLM keeps free when it admits beside others


def chunked(batch: Batch, now_ns: int) -> Step:
    """Every decode first, what is left of the token budget for prompts, in chunks if need be.

    Nobody is admitted in a step in which somebody had to give way.
    """
    step = Step()
    preempted = batch.decode(step)
    budget = batch.max_num_batched_tokens - step.decode_rows
    for sequence in batch.prefilling:
        if not budget:
            return step
        budget -= step.add(sequence, budget)
    waiting, pool = batch.waiting, batch.pool
    while waiting and budget and not preempted and batch.running < batch.max_num_seqs:
        needed = pool.blocks_for(waiting[0].known)
        if waiting[0].arrival_ns > now_ns or needed > pool.free:
            break
        budget -= step.add(batch.admit(needed), budget)
    return step


def continuous(batch: Batch, now_ns: int) -> Step:
    """Prompts whenever any can be admitted, and then nothing but prompts; otherwise everybody decodes.

    The prompts of a step are one rectangle, padded to the longest: its area is what the token budget limits, and at
    most PADDING_MAX of it may be padding.
    """
    step = Step()
    waiting, pool = batch.waiting, batch.pool
    spare = int(WATERMARK * pool.blocks) if batch.running else 0
    longest = 0
    while waiting and batch.running < batch.max_num_seqs:
        head = waiting[0]
        needed = pool.blocks_for(head.known)
        if head.arrival_ns > now_ns or needed + spare > pool.free:
            break
        area = (len(step.chunks) + 1) * max(longest, head.known)
        too_large = area > batch.max_num_batched_tokens or area - step.prefill_tokens - head.known > PADDING_MAX
        if step.chunks and too_large:
            break
        longest = max(longest, head.known)
        step.add(batch.admit(needed), head.known)
    if step.chunks:
        step.prefill_tokens = len(step.chunks) * longest
    else:
        batch.decode(step)
    return step


def inflight(batch: Batch, now_ns: int) -> Step:
    """Decodes and whole prompts in one step; who is admitted was promised all that it may need and is never evicted."""
    step = Step()
    batch.decode(step)
    budget = batch.max_num_batched_tokens - step.decode_rows
    waiting = batch.waiting
    while waiting and batch.running < batch.max_num_seqs:
        head = waiting[0]
        too_long = head.known > budget and step  # a prompt beyond any budget still gets a step of its own
        if head.arrival_ns > now_ns or too_long or not batch.promise(head):
            break
        budget -= step.add(batch.admit(batch.pool.blocks_for(head.known)), head.known)
    return step


def static(batch: Batch, now_ns: int) -> Step:
    """A batch of what waits; nobody joins and no place is free until its longest member has ended.

    All are padded, to the longest prompt and to as many rows as there were, and the cache is set aside for the longest
    prompt with the longest answer, for each.
    """
    step = Step()
    if batch.running:
        batch.decode(step)
        rows, longest = batch.rectangle
        step.decode_rows = step.samples = rows
        newest = next(iter(batch.decoding))
        step.decode_kv = rows * (longest + newest.offset + batch.round - newest.input_tokens)
        return step
    members = 0
    longest = longest_answer = 0
    for head in batch.waiting:
        prompt, answer = max(longest, head.known), max(longest_answer, head.longest - head.input_tokens)
        needed = batch.pool.blocks_for(prompt + answer) * (members + 1)
        if head.arrival_ns > now_ns or members == batch.max_num_seqs or needed > batch.pool.free:
            break
        members, longest, longest_answer = members + 1, prompt, answer
    for _ in range(members):
        head = batch.admit(batch.pool.blocks_for(longest + longest_answer))
        step.add(head, head.known)
    step.prefill_tokens = members * longest
    step.prefill_pairs = members * longest * (longest + 1) // 2
    step.prefill_kv = members * longest
    batch.rectangle = (members, longest)
    return step


POLICIES = {
    policy.name: policy
    for policy in (
        # as of                                     sequences, tokens a step, KV cache
        Policy("chunked", chunked, 32, 2048),  # today's vLLM; the sequences are this simulator's default
        Policy("splitfuse", chunked, 512, 768, "blocked"),  # DeepSpeed-MII: its ragged batch
        Policy("continuous", continuous, 256, 4096, reuses=False),  # vLLM 0.2.7 with a context of 4096
        Policy("inflight", inflight, 256, 8192),  # TensorRT-LLM, guaranteed no evict
        Policy(
            "static", static, 8, 4096, together=True, reuses=False
        ),  # Transformers; no limit of tokens, only of sequences
    )
}
