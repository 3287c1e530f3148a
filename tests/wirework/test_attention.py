"""Attention against torch's own, with heads and masks, and its derivatives."""

import numpy as np
import pytest
import torch

from wirework import attention, copy, evaluate, nabla, tensor, transpose
from wirework.diagram import Function, nodes_of
from wirework.errors import DiagramError

Q = tensor("Q", "batch head query:pos d_head")
K = tensor("K", "batch head key:pos d_head")
V = tensor("V", "batch head key:pos d_value")
MASK = tensor("mask", "query:pos key:pos")


def drawn(*shape, seed=0):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=gen, dtype=torch.float64)


def bound(n_pos=5):
    causal = torch.full((n_pos, n_pos), -torch.inf, dtype=torch.float64).triu(1)
    return {
        "Q": drawn(2, 3, n_pos, 4),
        "K": drawn(2, 3, n_pos, 4, seed=1),
        "V": drawn(2, 3, n_pos, 6, seed=2),
        "mask": causal,
    }


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("factor", [None, 0.3, 1.0])
def test_it_is_that_of_torch(masked, factor):
    arrays = bound()
    one = attention(Q, K, V, factor=factor, mask=MASK if masked else None)
    assert [leg.name for leg in one.legs] == ["batch", "head", "query", "d_value"]
    expected = torch.nn.functional.scaled_dot_product_attention(
        arrays["Q"],
        arrays["K"],
        arrays["V"],
        attn_mask=arrays["mask"] if masked else None,
        scale=factor,
    )
    torch.testing.assert_close(evaluate(one, arrays), expected)
    in_numpy = evaluate(one, {name: array.numpy() for name, array in arrays.items()})
    np.testing.assert_allclose(in_numpy, expected.numpy())
    # One box, apart from that of the factor.
    boxes = [node.name for node in nodes_of(one) if isinstance(node, Function)]
    assert boxes.count("softmax") == 1 and len(boxes) == 1 + (factor is None)


def test_legs_may_come_in_any_order():
    arrays = bound()
    turned = transpose(K, ["d_head", "key", "head", "batch"])
    one, other = attention(Q, turned, V), attention(Q, K, V)
    torch.testing.assert_close(evaluate(one, arrays), evaluate(other, arrays))


@pytest.mark.parametrize("name", ["Q", "K", "V"])
def test_its_derivative_is_finite_under_a_causal_mask(name):
    q, k, v = (
        tensor("Q", "query:pos d_head"),
        tensor("K", "key:pos d_head"),
        tensor("V", "key:pos d_value"),
    )
    one = attention(q, k, v, mask=MASK)
    arrays = {n: array[0, 0] if n != "mask" else array for n, array in bound(4).items()}
    found = evaluate(nabla(one, name), arrays)
    expected = torch.autograd.functional.jacobian(
        lambda x: evaluate(one, {**arrays, name: x}), arrays[name]
    )
    assert found.isfinite().all() and expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected)


def test_legs_that_do_not_fit():
    with pytest.raises(DiagramError, match="queries and keys alone"):
        attention(Q, V, V)
    with pytest.raises(DiagramError, match="legs of the scores.*'other' too"):
        attention(Q, K, V, mask=copy("query:pos other:pos"))
