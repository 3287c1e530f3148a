"""FLOPs: counted while a workload runs, and the fewest with which it can be done.

A fused causal kernel is counted as the whole square of queries and keys, although it computes half
of it; the bound counts it the same way. All else in the bound is exact: of each block the columns
that something depends on, keys and values only where nothing else is needed, each query with the
keys that it sees, and the unembedding where it is read.
"""

from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peak import peak_bytes
from benchmarks.workloads import Scoring

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Count(TypedDict):
    """FLOPs and peak memory of a workload."""

    workload: str
    gflops_necessary: float
    flops_over_necessary: float
    target: float
    met: bool
    peak_mib: float
    peak_mib_batched: float


def count(
    workload: str, call: Callable[[], object], necessary: int, batched: Callable[[], object]
) -> Count:
    """Count the FLOPs and the memory of a call, and the memory of the usual way."""
    ratio = executed(call) / necessary
    found = Count(
        workload=workload,
        gflops_necessary=necessary / 1e9,
        flops_over_necessary=ratio,
        target=1.05,
        met=ratio <= 1.05,
        peak_mib=peak_bytes(call) / 2**20,
        peak_mib_batched=peak_bytes(batched) / 2**20,
    )
    print(found)
    return found


def executed(call: Callable[[], object]) -> int:
    """Count the FLOPs of a call."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        rows, heads, queries, d_head = query
        return 4 * rows * heads * queries * key[2] * d_head

    def backward(_: Any, query: Any, key: Any, *rest: Any, **__: Any) -> int:
        rows, heads, queries, d_head = query
        return 10 * rows * heads * queries * key[2] * d_head  # with the pattern computed again

    counter = FlopCounterMode(
        display=False,
        custom_mapping={_CPU_ATTENTION: attention, _CPU_ATTENTION_BACKWARD: backward},
    )
    with counter:
        call()
    return counter.get_total_flops()


def necessary(work: Scoring, with_unedited: bool) -> int:
    """Count the fewest FLOPs of a workload of one prompt.

    Args:
        work: The workload.
        with_unedited: Whether the unedited pass counts; without it, its results are there.
    """
    keys, token, pair, head, last = _sizes(work.model)
    first = {"all": 0, "last": work.n_tokens - 1, "answer": work.n_tokens - work.n_suffix}[
        work.positions
    ]
    changed, read = work.n_tokens - first, work.n_suffix
    if first:
        seen = changed * first + changed * (changed + 1) // 2
        seen_at_end = read * work.n_tokens - read * (read - 1) // 2
    else:
        seen, seen_at_end = changed * changed, work.n_tokens
    inner = changed * token + seen * pair
    end = changed * keys + read * (token - keys) + seen_at_end * pair
    total = work.n_edits * ((last - work.block) * inner + end + read * head)
    if with_unedited:
        whole = work.n_tokens * token + work.n_tokens**2 * pair
        # For edits of a suffix, keys and values of every block; else what enters the edited one.
        total += last * whole + work.n_tokens * keys if first else work.block * whole
    return total


def necessary_generation(model: Any, n_tokens: int, n_edits: int, n_new: int, block: int) -> int:
    """Count the fewest FLOPs of texts under edits of new tokens, unedited pass included.

    The first new token is predicted by the unedited prompt, so it is the same under all edits: it
    runs once below the edited block. Later ones are taken to differ.
    """
    keys, token, pair, head, last = _sizes(model)
    prompt = last * (n_tokens * token + n_tokens**2 * pair)
    prompt += n_tokens * keys + (token - keys) + n_tokens * pair + head
    total = prompt + block * (token + (n_tokens + 1) * pair)
    for i in range(n_new - 1):
        column = token + (n_tokens + i + 1) * pair
        total += n_edits * ((last + 1 - (block if i == 0 else 0)) * column + head)
    return total


def necessary_search(
    model: Any, n_tokens: int, n_vectors: int, n_steps: int, source: int, target: int
) -> int:
    """Count the fewest FLOPs of a search, unedited pass included.

    A gradient with respect to what enters costs as much again as each product with weights, and
    twice as much for attention.
    """
    _, token, pair, _, _ = _sizes(model)
    forward = n_tokens * token + n_tokens**2 * pair
    backward = forward + n_tokens**2 * pair
    return target * forward + n_steps * n_vectors * (target - source) * (forward + backward)


def _sizes(model: Any) -> tuple[int, int, int, int, int]:
    """FLOPs of a token's keys and values, of all its products, of a pair, of the unembedding."""
    config = model.config
    d, d_head = config.hidden_size, config.hidden_size // config.num_attention_heads
    keys = 2 * d * 2 * config.num_key_value_heads * d_head
    token = keys + 4 * d * d + 6 * d * config.intermediate_size
    return keys, token, 4 * d, 2 * d * config.vocab_size, config.num_hidden_layers - 1
