"""FLOPs: counted while a workload runs, and the fewest with which it can be done.

A fused causal kernel is counted as the whole square of queries and keys, although it computes half
of it; the bound counts it the same way. All else in the bound is exact: of each block the columns
that something depends on, keys and values only where nothing else is needed, each query with the
keys that it sees, and the unembedding where it is read.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.workloads import Scoring

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def executed(call: Callable[[], object]) -> int:
    """Count the FLOPs of a call."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        rows, heads, queries, d_head = query
        return 4 * rows * heads * queries * key[2] * d_head

    counter = FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: attention})
    with counter:
        call()
    return counter.get_total_flops()


def necessary(work: Scoring, with_unedited: bool) -> int:
    """Count the fewest FLOPs of a workload of one prompt.

    Args:
        work: The workload.
        with_unedited: Whether the unedited pass counts; without it, its results are there.
    """
    config: Any = work.model.config
    d, d_head = config.hidden_size, config.hidden_size // config.num_attention_heads
    keys = 2 * d * 2 * config.num_key_value_heads * d_head
    token = keys + 4 * d * d + 6 * d * config.intermediate_size
    pair, last = 4 * d, config.num_hidden_layers - 1
    head = 2 * d * config.vocab_size
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
