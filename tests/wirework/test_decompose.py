"""Factors give the tensor back; truncation is as good as theory says, and its bound holds."""

import numpy as np
import pytest
import torch

from wirework import apply, einsum, evaluate, isotopic, parse, product, tensor
from wirework.decompose import eigen, qr, svd, tensor_train
from wirework.decompose_multilinear import cp, tucker
from wirework.diagram import Tensor, nodes_of
from wirework.errors import DiagramError, ValueMissingError
from wirework.factors import _exchanges, norm
from wirework.simplify import simplify

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor}
W = tensor("W", "i:a j:b k:c l:e")
SHAPE = (4, 3, 5, 2)


def drawn(*shape, seed=0, dtype=float):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(shape)
    return array + 1j * rng.standard_normal(shape) if dtype is complex else array


def symmetric(n=5, seed=0):
    one = drawn(n, n, seed=seed)
    return one + one.T


def low_rank(*shape, rank, noise=0.0):
    factors = [drawn(size, rank, seed=place) for place, size in enumerate(shape)]
    letters = "abcdef"[: len(shape)]
    spec = ",".join(f"{letter}z" for letter in letters) + "->" + letters
    return np.einsum(spec, *factors) + noise * drawn(*shape, seed=9)


WHOLE = {
    "svd": lambda d, a: svd(d, "W", "i k", arrays=a),
    "qr": lambda d, a: qr(d, "W", "l j", arrays=a),
    "train": lambda d, a: tensor_train(d, "W", "k i l j", arrays=a),
    "tucker": lambda d, a: tucker(d, "W", arrays=a),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("kind", WHOLE)
def test_factors_of_full_rank_are_the_tensor(kind, library, dtype):
    array = LIBRARIES[library](drawn(*SHAPE, dtype=dtype))
    found = WHOLE[kind](W, {"W": array})
    value = evaluate(found.diagram, found.arrays)
    assert type(value) is type(array) and value.dtype == array.dtype
    np.testing.assert_allclose(np.asarray(value), np.asarray(array), atol=1e-10)
    assert found.error < 1e-12 and found.converged
    assert all(node.error is None for node in nodes_of(found.diagram) if isinstance(node, Tensor))
    assert "W" not in found.diagram.tensors


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("kind", WHOLE)
def test_isometries_are_isometries(kind, library, dtype):
    found = WHOLE[kind](W, {"W": LIBRARIES[library](drawn(*SHAPE, dtype=dtype))})
    marked = [n for n in nodes_of(found.diagram) if isinstance(n, Tensor) and n.isometry]
    assert marked
    for node in marked:
        array = np.asarray(found.arrays[node.name])
        (bond,) = node.isometry
        matrix = np.moveaxis(array, bond, -1).reshape(-1, array.shape[bond])
        np.testing.assert_allclose(matrix.conj().T @ matrix, np.eye(array.shape[bond]), atol=1e-12)
        assert node.real == (dtype is float)


def test_singular_values_stand_on_the_wire():
    found = svd(tensor("W", "i j"), "W", "i", arrays={"W": drawn(4, 3)})
    shown = "i j: W.U[i r:W.bond] copy[r:W.bond s:W.bond t:W.bond] W.S[t:W.bond] W.V[s:W.bond j]"
    assert isotopic(found.diagram, parse(shown))
    np.testing.assert_allclose(found.arrays["W.S"], np.linalg.svd(drawn(4, 3))[1])


def test_an_isometry_cancels_in_the_diagram():
    gram = einsum("ia,ib->ab", "W", "W")
    found = svd(gram, "W", "i", arrays={"W": drawn(6, 3)})
    simpler = simplify(found.diagram)
    assert "W.U" in found.diagram.tensors and "W.U" not in simpler.tensors
    np.testing.assert_allclose(
        evaluate(simpler, found.arrays), evaluate(gram, found.arrays), atol=1e-10
    )


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_no_factors_of_that_rank_lack_less(rank):
    array = drawn(*SHAPE)
    found = svd(W, "W", "i j", arrays={"W": array}, rank=rank)
    sigma = np.linalg.svd(array.reshape(12, 10))[1]
    best = np.sqrt((sigma[rank:] ** 2).sum() / (sigma**2).sum())
    assert found.error == pytest.approx(best, rel=1e-12) and best > 0.1
    errors = {n.error for n in nodes_of(found.diagram) if isinstance(n, Tensor)}
    assert errors == {found.error}
    value = evaluate(found.diagram, found.arrays)
    assert np.linalg.norm(value - array) / np.linalg.norm(array) == pytest.approx(best)


@pytest.mark.parametrize("error", [0.0, 0.05, 0.3, 0.9])
def test_an_error_that_is_allowed_is_kept_to_and_used(error):
    array = drawn(*SHAPE)
    found = svd(W, "W", "i j", arrays={"W": array}, error=error)
    rank = found.arrays["W.S"].shape[0]
    assert found.error <= error + 1e-12
    if rank > 1:
        assert svd(W, "W", "i j", arrays={"W": array}, rank=rank - 1).error > error
    train = tensor_train(W, "W", "i j k l", arrays={"W": array}, error=error)
    core = tucker(W, "W", arrays={"W": array}, error=error)
    assert train.error <= error + 1e-12 and core.error <= error + 1e-12


def test_the_error_of_a_train_is_the_sum_of_its_cuts():
    array = low_rank(4, 3, 5, 2, rank=3, noise=0.3)
    found = tensor_train(W, "W", "i j k l", arrays={"W": array}, rank=2)
    tails = [
        np.linalg.svd(array.reshape(rows, -1))[1][2:] for rows in (4, 12, 60)
    ]  # each is at most what the best train lacks
    squares = [float((tail**2).sum()) / np.linalg.norm(array) ** 2 for tail in tails]
    assert max(squares) <= found.error**2 * (1 + 1e-9) <= sum(squares) * (1 + 1e-9) ** 2
    assert max(squares) > 0.01


def test_a_tucker_core_is_nearly_the_best_and_iterating_helps():
    array = low_rank(6, 5, 4, rank=4, noise=0.5)
    three = tensor("W", "i j k")
    first = tucker(three, "W", arrays={"W": array}, rank=2, max_sweeps=0)
    found = tucker(three, "W", arrays={"W": array}, rank=2)
    tails = [
        np.linalg.svd(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))[1][2:]
        for axis in range(3)
    ]
    squares = [float((tail**2).sum()) / np.linalg.norm(array) ** 2 for tail in tails]
    assert max(squares) <= found.error**2 <= first.error**2 <= sum(squares)
    assert found.error < first.error - 1e-4 and found.converged and found.sweeps > 1
    assert found.arrays["W.core"].shape == (2, 2, 2)
    stopped = tucker(three, "W", arrays={"W": array}, rank=2, max_sweeps=1)
    assert not stopped.converged and stopped.sweeps == 1 and stopped.error <= first.error
    one_leg = tucker(three, "W", arrays={"W": array}, rank={"j": 3})
    assert one_leg.arrays["W.core"].shape == (6, 3, 4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_sum_of_outer_products_is_found_again(library):
    array = LIBRARIES[library](low_rank(5, 6, 4, rank=3))
    three = tensor("W", "i j k")
    found = cp(three, "W", arrays={"W": array}, rank=3)
    assert found.converged and found.error < 1e-5 and found.fit > 1 - 1e-5
    assert found.sweeps > 1
    value = evaluate(found.diagram, found.arrays)
    np.testing.assert_allclose(np.asarray(value), np.asarray(array), atol=1e-3)
    weights = np.asarray(found.arrays["W.L"])
    assert (np.diff(weights) <= 0).all()
    poor = cp(three, "W", arrays={"W": array}, rank=1)
    assert poor.error > 0.1
    other = cp(three, "W", arrays={"W": array}, rank=3, rng=np.random.default_rng(0))
    assert other.error < 1e-5 and other.sweeps != found.sweeps
    stopped = cp(three, "W", arrays={"W": array}, rank=3, max_sweeps=2)
    assert not stopped.converged and stopped.sweeps == 2 and stopped.error > 1e-3


def test_complex_outer_products():
    factors = [drawn(n, 2, seed=n, dtype=complex) for n in (4, 5, 3)]
    array = np.einsum("az,bz,cz->abc", *factors)
    found = cp(tensor("W", "i j k"), "W", arrays={"W": array}, rank=2)
    assert found.error < 1e-5


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_peers_find_the_same_errors(rank):
    peer = pytest.importorskip("tensorly")
    decomposition = pytest.importorskip("tensorly.decomposition")
    array = low_rank(4, 3, 5, rank=4, noise=0.3)
    three, size = tensor("W", "i j k"), np.linalg.norm(array)
    train = decomposition.tensor_train(array, rank=[1, rank, rank, 1])
    theirs = np.linalg.norm(peer.tt_to_tensor(train) - array) / size
    mine = tensor_train(three, "W", "i j k", arrays={"W": array}, rank=rank)
    assert mine.error == pytest.approx(theirs, abs=1e-9)
    core = decomposition.tucker(array, rank=[rank] * 3, tol=1e-12, n_iter_max=500)
    theirs = np.linalg.norm(peer.tucker_to_tensor(core) - array) / size
    found = tucker(three, "W", arrays={"W": array}, rank=rank, tolerance=1e-13, max_sweeps=500)
    assert found.error == pytest.approx(theirs, abs=1e-5)
    outer = decomposition.parafac(array, rank, n_iter_max=2000, tol=1e-10, random_state=0)
    theirs = np.linalg.norm(peer.cp_to_tensor(outer) - array) / size
    starts = [None, *(np.random.default_rng(n) for n in range(3))]
    best = min(cp(three, "W", arrays={"W": array}, rank=rank, rng=rng).error for rng in starts)
    assert best <= theirs + 1e-4


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [float, complex])
def test_a_hermitian_matrix_has_orthogonal_eigenvectors(library, dtype):
    one = drawn(5, 5, dtype=dtype)
    array = LIBRARIES[library](one + one.conj().T)
    diagram = tensor("M", "i:d j:d", real=dtype is float)
    found = eigen(diagram, "M", "i", arrays={"M": array})
    np.testing.assert_allclose(
        np.asarray(evaluate(found.diagram, found.arrays)), np.asarray(array), atol=1e-10
    )
    assert found.diagram.tensors == ("M.Q", "M.L")
    values = np.asarray(found.arrays["M.L"])
    expected = np.linalg.eigvalsh(np.asarray(array))
    np.testing.assert_allclose(values, expected[np.argsort(-abs(expected))], atol=1e-10)
    cut = eigen(diagram, "M", "i", arrays={"M": array}, rank=2)
    assert cut.error == pytest.approx(
        np.sqrt((values[2:] ** 2).sum() / (values**2).sum()), rel=1e-9
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_any_other_matrix_has_eigenvectors_and_their_inverse(library):
    array = LIBRARIES[library](drawn(2, 3, 2, 3))
    found = eigen(tensor("M", "i:a j:b k:a l:b"), "M", "i j", arrays={"M": array})
    value = np.asarray(evaluate(found.diagram, found.arrays))
    np.testing.assert_allclose(value, np.asarray(array), atol=1e-10)
    assert np.iscomplexobj(value)


def test_every_place_is_replaced_within_boxes_too():
    x = tensor("x", "i:d")
    M = tensor("M", "i:d j:d")  # noqa: N806
    expression = apply("tanh", x @ M) @ M + 2 * (x @ M)
    arrays = {"M": drawn(4, 4), "x": drawn(4, seed=1)}
    found = svd(expression, "M", "i", arrays=arrays)
    assert "M" not in found.diagram.tensors
    np.testing.assert_allclose(
        evaluate(found.diagram, found.arrays), evaluate(expression, arrays), atol=1e-10
    )
    with pytest.raises(DiagramError, match="outside of boxes"):
        found.bound()
    again = svd(found.diagram, "M.U", "i", arrays=found.arrays)
    np.testing.assert_allclose(
        evaluate(again.diagram, again.arrays), evaluate(expression, arrays), atol=1e-10
    )


MULTILINEAR = {
    "once": einsum("ij,jk->ik", "M", "A"),
    "gram": einsum("ij,ik->jk", "M", "M"),
    "cube": einsum("ij,jk,kl->il", "M", "M", "M"),
    "sum": einsum("ij,jk->ik", "M", "M") + 3 * tensor("M", "i:i k:i"),
}


@pytest.mark.parametrize("case", MULTILINEAR)
@pytest.mark.parametrize("rank", [1, 4, 7])
def test_the_bound_holds_and_says_something(case, rank):
    expression = MULTILINEAR[case]
    sizes = {leg.dim: 8 for node in nodes_of(expression) for leg in node.legs}
    arrays = {"M": drawn(8, 8), "A": drawn(8, 8, seed=1)}
    left = next(n for n in nodes_of(expression) if getattr(n, "name", "") == "M").legs[0].name
    found = svd(expression, "M", left, arrays=arrays, rank=rank)
    value = evaluate(found.diagram, found.arrays, sizes=sizes)
    distance = np.linalg.norm(value - evaluate(expression, arrays, sizes=sizes))
    bound = found.bound()
    assert distance <= bound * (1 + 1e-9)
    assert bound <= 3 * distance  # not far above
    if case == "once":
        assert bound == pytest.approx(distance)


@pytest.mark.parametrize("case", MULTILINEAR)
def test_exchanges_add_up_to_the_whole_change(case):
    expression = MULTILINEAR[case]
    near, lost = drawn(8, 8, seed=3), drawn(8, 8, seed=4)
    arrays = {"A": drawn(8, 8), "M": near + lost, "M near": near, "M lost": lost}
    pieces = [evaluate(piece, arrays) for piece in _exchanges(expression, "M")]
    change = evaluate(expression, arrays) - evaluate(expression, {**arrays, "M": near})
    np.testing.assert_allclose(sum(pieces), change, atol=1e-10)


def test_conjugates_are_replaced_by_conjugates():
    gram = product(
        tensor("W", "i:a j:b", real=False),
        tensor("W", "i:a k:b", real=False, conjugate=True),
        [("i", "i")],
    )
    arrays = {"W": drawn(5, 3, dtype=complex)}
    for found in (svd(gram, "W", "i", arrays=arrays), qr(gram, "W", "i", arrays=arrays)):
        value = evaluate(found.diagram, found.arrays)
        np.testing.assert_allclose(value, evaluate(gram, arrays), atol=1e-10)
        simpler = simplify(found.diagram)
        assert len(simpler.tensors) < len(found.diagram.tensors)
        np.testing.assert_allclose(evaluate(simpler, found.arrays), value, atol=1e-10)


def test_a_norm_is_the_same_without_building_the_value(monkeypatch):
    arrays = {"A": drawn(6, 3, dtype=complex), "B": drawn(3, 6, seed=1, dtype=complex)}
    chain = einsum("ij,jk->ik", "A", "B")
    expected = np.linalg.norm(arrays["A"] @ arrays["B"])
    assert norm(chain, arrays) == pytest.approx(expected)
    assert norm(chain, arrays, memory_limit=20) == pytest.approx(expected)  # the value has 36


def test_what_cannot_be_decomposed():
    arrays = {"W": drawn(4, 4)}
    M = tensor("W", "i:d j:d")  # noqa: N806
    with pytest.raises(DiagramError, match="a tensor among W, got 'V'"):
        svd(M, "V", "i", arrays=arrays)
    with pytest.raises(ValueMissingError, match="with 2 axes for W.*got none"):
        svd(M, "W", "i", arrays={})
    with pytest.raises(ValueMissingError, match=r"got shape \(4,\)"):
        svd(M, "W", "i", arrays={"W": drawn(4)})
    for left, message in (("q", "legs of W.*got 'q'"), ("i i", "each once"), ("i j", "both sides")):
        with pytest.raises(DiagramError, match=message):
            svd(M, "W", left, arrays=arrays)
    for rank in (0, 5):
        with pytest.raises(DiagramError, match=f"rank from 1 to 4 for W.*got {rank}"):
            svd(M, "W", "i", arrays=arrays, rank=rank)
    with pytest.raises(DiagramError, match="give one of them"):
        svd(M, "W", "i", arrays=arrays, rank=1, error=0.1)
    with pytest.raises(DiagramError, match="relative error from 0 up to 1"):
        svd(M, "W", "i", arrays=arrays, error=1.5)
    for array, message in (
        (np.zeros((4, 4)), "other than zero.*norm 0"),
        (np.full((4, 4), np.nan), "finite array.*norm nan"),
        (np.ones((4, 4), dtype=int), "single precision.*int64"),
        (torch.ones(4, 4, dtype=torch.bfloat16), "single precision.*bfloat16"),
    ):
        with pytest.raises(DiagramError, match=message):
            svd(M, "W", "i", arrays={"W": array})
    with pytest.raises(DiagramError, match="all legs of W"):
        tensor_train(M, "W", "i", arrays=arrays)
    with pytest.raises(DiagramError, match="positive rank"):
        cp(M, "W", arrays=arrays, rank=0)
    with pytest.raises(DiagramError, match="ranks for legs.*'q'"):
        tucker(M, "W", arrays=arrays, rank={"q": 1})


def test_equal_singular_values_are_not_parted():
    M = tensor("W", "i:d j:d")  # noqa: N806
    array = np.diag([3.0, 2.0, 2.0, 1.0])
    with pytest.raises(DiagramError, match="got 2 between 2 and 2.*take 1"):
        svd(M, "W", "i", arrays={"W": array}, rank=2)
    assert svd(M, "W", "i", arrays={"W": array}, rank=3).error < 0.3
    # An error that is allowed would do with two, and keeps both.
    kept = svd(M, "W", "i", arrays={"W": array}, error=0.55)
    assert kept.arrays["W.S"].tolist() == pytest.approx([3.0, 2.0, 2.0])
    # Those that are zero may be.
    assert svd(M, "W", "i", arrays={"W": np.diag([1.0, 0, 0, 0])}, rank=2).error < 1e-12


def test_what_has_no_eigenvalues():
    square = tensor("W", "i:d j:d")
    with pytest.raises(DiagramError, match=r"both sides of W.*\['a'\] and \['b'\]"):
        eigen(tensor("W", "i:a j:b"), "W", "i", arrays={"W": drawn(4, 3)})
    with pytest.raises(DiagramError, match="symmetric or Hermitian array to truncate"):
        eigen(square, "W", "i", arrays={"W": drawn(4, 4)}, rank=2)
    with pytest.raises(DiagramError, match="defective"):
        eigen(square, "W", "i", arrays={"W": np.array([[1.0, 1.0], [0.0, 1.0]])})


def test_names_that_are_taken_get_a_prime():
    arrays = {"W": drawn(4, 3), "W.U": drawn(4, 3)}
    found = svd(einsum("ij,ij->", "W", "W.U"), "W", "i", arrays=arrays)
    assert set(found.diagram.tensors) == {"W.U", "W.U'", "W.S", "W.V"}
    assert evaluate(found.diagram, found.arrays) == pytest.approx((drawn(4, 3) ** 2).sum())
