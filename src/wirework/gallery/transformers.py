"""Layers, attention, circuits, and what is done to them."""

from wirework import Leg, Tensor, apply, copy, einsum, parse, product, tensor
from wirework.gallery.figure import Chapter, Drawn
from wirework.layout import Group, Hints
from wirework.simplify import simplify

CHAPTER = Chapter("Transformers")


@CHAPTER
def linear_layer() -> Drawn:
    """A linear layer: a weight and a bias."""
    return tensor("W", "o i") @ tensor("x", "i") + tensor("b", "o")


@CHAPTER
def bias_as_a_leg() -> Drawn:
    """The same without a sum.

    The input has one more entry, a constant one, and W one more column, the bias.
    """
    return tensor("W", "o i+1") @ tensor("x", "i+1")


@CHAPTER
def mlp() -> Drawn:
    """An MLP. A function is a box around what it is applied to."""
    hidden = tensor("W_{in}", "h d") @ tensor("x", "d")
    return tensor("W_{out}", "o h") @ apply("gelu", hidden)


@CHAPTER
def gated_mlp() -> Drawn:
    """A gated MLP: a dot multiplies the two halves."""
    gate = apply("silu", tensor("W_{gate}", "h d") @ tensor("x", "d"))
    up = tensor("W_{up}", "h d") @ tensor("x", "d")
    both = product(copy("g:h u:h h"), gate, [("g", "h")])
    return tensor("W_{down}", "o h") @ product(both, up, [("u", "h")])


@CHAPTER
def bilinear_mlp() -> Drawn:
    """Without the function it is bilinear, one tensor of order three."""
    return einsum("oh,hi,hj,i,j->o", "W_{down}", "W_{gate}", "W_{up}", "x", "x")


@CHAPTER
def layer_norm() -> Drawn:
    """A layer norm, with its learnt scale and shift."""
    normed = apply("layer_norm", tensor("x", "d"), "d")
    scaled = product(
        product(copy("a:d b:d d"), normed, [("a", "d")]), tensor("g", "d"), [("b", "d")]
    )
    return scaled + tensor("b", "d")


@CHAPTER
def attention_head() -> Drawn:
    """One attention head: the pattern is a softmax along the keys."""
    scores = parse("q:pos k:pos: x[q:pos d] W_Q[d h] W_K[e:d h] x[k:pos e:d]")
    values = parse("k:pos m:d: x[k:pos d] W_V[d h] W_O[h m:d]")
    return product(apply("softmax", scores, "k"), values, [("k", "k")])


@CHAPTER
def attention_layer() -> Drawn:
    """All heads of a layer: the head's index is copied to all four weights, and summed."""
    scores = parse(
        "n q:pos k:pos: x[q:pos d] W_Q[a:n d h] W_K[b:n e:d h] x[k:pos e:d] copy[a:n b:n n]"
    )
    values = parse("n k:pos m:d: x[k:pos d] W_V[a:n d h] W_O[b:n h m:d] copy[a:n b:n n]")
    return product(apply("softmax", scores, "k"), values, [("n", "n"), ("k", "k")])


@CHAPTER
def frozen_attention() -> Drawn:
    """With its pattern frozen, attention is linear: positions move along A, features along OV."""
    return einsum("q k, k d, d h, h m -> q m", "A", "x", "W_V", "W_O")


@CHAPTER
def qk_circuit() -> Drawn:
    """The QK circuit: which token attends to which. W_K is turned round, and it shows."""
    E, Q = tensor("W_E", "q:vocab d_model"), tensor("W_Q", "d_model d_head")
    K, F = tensor("W_K", "d_model d_head"), tensor("W_E", "k:vocab d_model")
    return E @ Q @ K.T @ F.T, Hints(groups=(Group("W_{QK}", ("W_Q", "W_K")),))


@CHAPTER
def ov_circuit() -> Drawn:
    """The OV circuit: what a token that is attended to writes."""
    E, V = tensor("W_E", "in:vocab d_model"), tensor("W_V", "d_model d_head")
    O, U = tensor("W_O", "d_head d_model"), tensor("W_U", "d_model out:vocab")  # noqa: E741
    return E @ V @ O @ U, Hints(groups=(Group("W_{OV}", ("W_V", "W_O")),))


@CHAPTER
def k_composition() -> Drawn:
    """How much of a head's keys an earlier head writes.

    The squared norm of W_QK W_OV is a closed diagram.
    """
    once = "W_Q", "W_K", "W_O'", "W_V'"
    return einsum("dh,eh,em,mb,dg,fg,fn,nb->", *once, *once)


@CHAPTER
def induction_head() -> Drawn:
    """An induction head.

    Its keys read, through a head that attends to the previous token, what stood before each place;
    its queries read the token here.
    """
    query = tensor("x", "q d") @ tensor("W_Q", "d h")
    shift = tensor("A_{prev}", "k p") @ tensor("x", "p d")
    key = shift @ tensor("W_V'", "d v") @ tensor("W_O'", "v m") @ tensor("W_K", "m h")
    pattern = apply("softmax", query @ key.T, "k")
    return pattern @ tensor("x", "k d") @ tensor("W_V", "d v") @ tensor("W_O", "v m")


@CHAPTER
def residual_stream() -> Drawn:
    """A residual stream with one layer of attention, frozen: the input, and what heads add."""
    heads = "A[a:n q:pos k:pos] x[k:pos d] W_V[b:n d h] W_O[c:n h m:d] copy[a:n b:n c:n]"
    n = Leg("n", "n", "up")
    A = Tensor("A", (n, Leg("q", "pos"), Leg("k", "pos")))
    V = Tensor("W_V", (n, Leg("d", "d"), Leg("h", "h")))
    O = Tensor("W_O", (n, Leg("h", "h"), Leg("m", "d")))  # noqa: E741
    upright = {one.name: one for one in (A, V, O)}
    return tensor("x", "q:pos m:d") + parse(f"q:pos m:d: {heads}", upright)


@CHAPTER
def path_expansion() -> Drawn:
    """Path expansion: two layers, multiplied out into paths through no head, one, and two."""
    I = copy("i:d j:d")  # noqa: E741
    one, two = tensor("H_1", "i:d j:d"), tensor("H_2", "i:d j:d")
    start, end = tensor("W_E", "t:vocab i:d"), tensor("W_U", "i:d u:vocab")
    stacked = (start @ (I + one) @ (I + two)) @ end
    return simplify(stacked)


@CHAPTER
def low_rank_adapter() -> Drawn:
    """A low-rank adapter beside the weight it changes."""
    return tensor("W", "o i") + 2 * tensor("B", "o r") @ tensor("A", "r i")


@CHAPTER
def gauge_freedom() -> Drawn:
    """Only the product of W_Q and W_K counts: a matrix and its inverse may stand between them."""
    Q, K = tensor("W_Q", "d h"), tensor("W_K", "e h")
    R, S = tensor("R", "h g:h"), tensor("R^{-1}", "g:h h")
    return Q @ R @ S @ K.T, Hints(
        groups=(Group("W_Q R", ("W_Q", "R")), Group("W_K R^{-T}", ("R^{-1}", "W_K")))
    )


@CHAPTER
def steering() -> Drawn:
    """A steering vector enters the stream before a block's MLP reads it."""
    x = tensor("x", "pos d") + product(copy("pos"), tensor("v", "d"))
    return product(x, tensor("W_{in}", "h d"), [("d", "d")])
