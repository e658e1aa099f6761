"""The fused kernels that plain torch lacks: one pass over the data each, as serving engines have them.

Rotary embedding in place, write into a paged cache, paged attention for decoding (split over the context, then joined),
residual add with RMS norm, swish and multiply. Apart because importing it needs Triton; every function here is a few
lines of launch, checked against float32 by selftest.py. Written for clarity first: they are yardsticks, not records.
"""

# mypy: ignore-errors
# (a kernel is Triton's language in Python's syntax, and torch and Triton are not there where types are checked)

import torch
import triton
import triton.language as tl

TOKENS = 64  # of context in one step of the attention's loop
ROWS_LEAST = 16  # rows of the smallest matrix product of the tensor cores
PROGRAMS = 528  # that split attention aims at: four for each of 132 multiprocessors


@triton.jit
def _rope(x, positions, cosines, sines, rows, heads, half: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    lane = tl.arange(0, half)
    inside = (row < rows)[:, None]
    position = tl.load(positions + row // heads, mask=row < rows, other=0)
    angle = position[:, None] * half + lane[None, :]
    cosine = tl.load(cosines + angle, mask=inside, other=0.0)
    sine = tl.load(sines + angle, mask=inside, other=0.0)
    place = x + row[:, None] * (2 * half) + lane[None, :]
    low = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(place + half, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, (low * cosine - high * sine).to(x.dtype.element_ty), mask=inside)
    tl.store(place + half, (high * cosine + low * sine).to(x.dtype.element_ty), mask=inside)


def rope(x, positions, cosines, sines):
    """Rotate [tokens, heads, size] in place; cosines and sines are float32 [positions, size/2]."""
    tokens, heads, size = x.shape
    rows = tokens * heads
    _rope[(triton.cdiv(rows, 16),)](x, positions, cosines, sines, rows, heads, half=size // 2, block=16, num_warps=2)


@triton.jit
def _paged_write(keys, values, key_pages, value_pages, slots, width, block: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    slot = tl.load(slots + token)
    inside = lane < width
    tl.store(key_pages + slot * width + lane, tl.load(keys + token * width + lane, mask=inside), mask=inside)
    tl.store(value_pages + slot * width + lane, tl.load(values + token * width + lane, mask=inside), mask=inside)


def paged_write(keys, values, key_pages, value_pages, slots):
    """Copy [tokens, heads, size] of K and V to the places `slots` of pages [pages, tokens a page, heads, size]."""
    tokens, heads, size = keys.shape
    width = heads * size
    grid = (tokens, triton.cdiv(width, 1024))
    _paged_write[grid](keys, values, key_pages, value_pages, slots, width, block=1024)


@triton.jit
def _paged_part(
    query, key_pages, value_pages, table, sums, peaks, weights,
    context, kv_heads, blocks, splits, part, scale,
    group: tl.constexpr, size: tl.constexpr, page: tl.constexpr, rows: tl.constexpr, step: tl.constexpr,
):  # fmt: skip
    sequence, head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    row, lane, column = tl.arange(0, rows), tl.arange(0, size), tl.arange(0, step)
    real = row < group
    first = (sequence * kv_heads + head) * group  # the first of the query heads that share this KV head
    q = tl.load(query + (first + row)[:, None] * size + lane[None, :], mask=real[:, None], other=0.0)
    total = tl.zeros([rows, size], dtype=tl.float32)
    peak = tl.full([rows], float("-inf"), dtype=tl.float32)
    weight = tl.zeros([rows], dtype=tl.float32)
    start = split * part
    end = tl.minimum(start + part, context)
    for at in range(start, end, step):
        token = at + column
        inside = token < end
        block = tl.load(table + sequence * blocks + token // page, mask=inside, other=0).to(tl.int64)
        place = ((block * page + token % page) * kv_heads + head) * size
        k = tl.load(key_pages + place[:, None] + lane[None, :], mask=inside[:, None], other=0.0)
        score = tl.dot(q, tl.trans(k)) * scale
        score = tl.where(inside[None, :], score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))
        power = tl.exp2(score - higher[:, None])
        shrink = tl.exp2(peak - higher)
        v = tl.load(value_pages + place[:, None] + lane[None, :], mask=inside[:, None], other=0.0)
        total = total * shrink[:, None] + tl.dot(power.to(v.dtype), v)
        weight = weight * shrink + tl.sum(power, 1)
        peak = higher
    index = (first + row) * splits + split
    tl.store(sums + index[:, None] * size + lane[None, :], total, mask=real[:, None])
    tl.store(peaks + index, peak, mask=real)
    tl.store(weights + index, weight, mask=real)


@triton.jit
def _paged_join(sums, peaks, weights, result, splits, size: tl.constexpr, padded: tl.constexpr):
    head = tl.program_id(0).to(tl.int64)
    part, lane = tl.arange(0, padded), tl.arange(0, size)
    inside = part < splits
    peak = tl.load(peaks + head * splits + part, mask=inside, other=float("-inf"))
    share = tl.exp2(peak - tl.max(peak, 0))
    weight = tl.sum(share * tl.load(weights + head * splits + part, mask=inside, other=0.0), 0)
    place = sums + (head * splits + part)[:, None] * size + lane[None, :]
    total = tl.sum(tl.load(place, mask=inside[:, None], other=0.0) * share[:, None], 0)
    tl.store(result + head * size + lane, (total / weight).to(result.dtype.element_ty))


def paged_attention(query, key_pages, value_pages, table, context):
    """One new token's attention: query [b, heads, 1, size], pages [pages, tokens, KV heads, size], table [b, blocks].

    The keys are read where they lie, through the block table; nothing is gathered. Returns [b, heads, 1, size].
    """
    batch, heads, _, size = query.shape
    page, kv_heads = key_pages.shape[1], key_pages.shape[2]
    wanted = min(triton.cdiv(PROGRAMS, batch * kv_heads), triton.cdiv(context, 2 * TOKENS))
    part = TOKENS * triton.cdiv(context, TOKENS * wanted)
    splits = triton.cdiv(context, part)
    sums = torch.empty((batch, heads, splits, size), device=query.device, dtype=torch.float32)
    peaks = torch.empty((batch, heads, splits), device=query.device, dtype=torch.float32)
    weights = torch.empty_like(peaks)
    result = torch.empty_like(query)
    group = heads // kv_heads
    _paged_part[(batch, kv_heads, splits)](
        query, key_pages, value_pages, table, sums, peaks, weights,
        context, kv_heads, table.shape[1], splits, part, size**-0.5 * 1.4426950408889634,  # exp2 in place of exp
        group=group, size=size, page=page, rows=max(ROWS_LEAST, triton.next_power_of_2(group)), step=TOKENS,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    padded = triton.next_power_of_2(splits)
    _paged_join[(batch * heads,)](sums, peaks, weights, result, splits, size=size, padded=padded)
    return result


@triton.jit
def _add_norm(residual, x, weight, added, normed, width, epsilon, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    lane = tl.arange(0, block)
    inside = lane < width
    total = tl.load(residual + row + lane, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(x + row + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(added + row + lane, total.to(added.dtype.element_ty), mask=inside)
    scale = tl.rsqrt(tl.sum(total * total, 0) / width + epsilon)
    scaled = total * scale * tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + row + lane, scaled.to(normed.dtype.element_ty), mask=inside)


def add_norm(residual, x, weight, epsilon):
    """The new residual stream and its RMS norm, both [rows, width]."""
    rows, width = x.shape
    added, normed = torch.empty_like(x), torch.empty_like(x)
    block = triton.next_power_of_2(width)
    _add_norm[(rows,)](residual, x, weight, added, normed, width, epsilon, block=block, num_warps=8)
    return added, normed


@triton.jit
def _swish_multiply(gate_up, result, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    inside = lane < width
    gate = tl.load(gate_up + row * 2 * width + lane, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + row * width + lane, (gate * tl.sigmoid(gate) * up).to(result.dtype.element_ty), mask=inside)


def swish_multiply(gate_up):
    """[rows, 2·width], gate beside up, to [rows, width]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    result = torch.empty((rows, width), device=gate_up.device, dtype=gate_up.dtype)
    _swish_multiply[(rows, triton.cdiv(width, 1024))](gate_up, result, width, block=1024)
    return result
