"""Path expansion, composition and singular directions agree with dense products."""

import pytest
import tiny
import torch

from unmask.errors import SettingError
from unmask.models import diagrams
from unmask.models.diagrams.factors import HeadFactors, gram, root
from unmask.models.diagrams.parts import centred
from unmask.models.diagrams.reading import parts_of

FAMILIES = ["llama", "gpt2", "gemma2", "olmo2", "gpt-neox"]


def _dense(subject):
    """OV and QK of every head, and the maps from tokens and to logits, as plain matrices."""
    parts = parts_of(subject)
    heads = HeadFactors.of(parts)
    out = parts.norm.weight[:, None] * parts.W_U.T
    out = centred(out) if parts.centres else out
    return heads.V @ heads.O, heads.Q @ heads.K.mT, parts.W_E * parts.embed_scale, out


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_of_paths_are_those_of_the_dense_maps(family):
    subject = tiny.subject(family)
    found = diagrams.path_expansion(subject, top=10**6)
    OV, _, W_E, out = _dense(subject)
    n_layers, n_heads = OV.shape[:2]
    assert found.n_terms == 1 + n_layers * n_heads + n_heads**2 * n_layers * (n_layers - 1) // 2
    assert len({term.heads for term in found.terms}) == found.n_terms == len(found.terms)
    squares = 0.0
    for term in found.terms:
        dense = W_E
        for layer, head in term.heads:
            dense = dense @ OV[layer, head]
        norm = float((dense @ out).norm())
        assert term.norm == pytest.approx(norm, rel=1e-4)
        squares += norm**2
    assert found.total**2 == pytest.approx(squares, rel=1e-4)
    assert sum(term.share for term in found.terms) == pytest.approx(1, rel=1e-4)
    norms = [term.norm for term in found.terms]
    assert norms == sorted(norms, reverse=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_diagram_of_a_path_has_its_norm(family):
    found = diagrams.path_expansion(tiny.subject(family), top=200)
    of_length = {len(term.heads): term for term in found.terms}
    assert set(of_length) == {0, 1, 2}
    for term in of_length.values():
        assert term.bound.legs == ("source", "out")
        assert float(term.bound.value().norm()) == pytest.approx(term.norm, rel=1e-4)


def test_frozen_factors_scale_the_terms():
    subject = tiny.subject("gpt2")
    frozen = diagrams.freeze(subject, list(range(20, 32)))
    plain = {t.heads: t.norm for t in diagrams.path_expansion(subject, top=10**6).terms}
    scaled = diagrams.path_expansion(subject, top=10**6, frozen=frozen).terms
    final = float(frozen.final_scale.square().mean().sqrt())
    by_layer = [float(at.scale.square().mean().sqrt()) for at in frozen.blocks]
    for term in scaled:
        expected = plain[term.heads] * final
        for layer, _ in term.heads:
            expected *= by_layer[layer]
        assert term.norm == pytest.approx(expected, rel=1e-4)


def test_shorter_expansions_are_beginnings_of_longer_ones():
    subject = tiny.subject("llama")
    counts = [diagrams.path_expansion(subject, max_heads=n).n_terms for n in (0, 1, 2)]
    assert counts == [1, 13, 61]


def test_settings_of_an_expansion_are_checked():
    for settings in ({"top": 0}, {"max_heads": 3}):
        with pytest.raises(SettingError, match="top of at least 1 and max_heads.*Longer paths"):
            diagrams.path_expansion(tiny.subject(), **settings)


def test_gram_and_root_are_of_the_matrix():
    gen = torch.Generator().manual_seed(0)
    W = torch.randn(50, 6, generator=gen)
    torch.testing.assert_close(gram(W, at_once=7), W.double().T @ W.double())
    R = root(gram(W[:4]))  # of rank 4, so that rounding makes small negative eigenvalues
    torch.testing.assert_close(R @ R.T, W[:4].double().T @ W[:4].double())


@pytest.mark.parametrize("family", FAMILIES)
def test_composition_is_that_of_the_dense_matrices(family):
    subject = tiny.subject(family)
    scores = diagrams.composition_scores(subject)
    OV, QK, _, _ = _dense(subject)
    reads = {"Q": QK, "K": QK.mT, "V": OV}
    for kind, W in reads.items():
        found = getattr(scores, kind)
        for first in range(len(OV)):
            assert found[first, :, : first + 1].isnan().all()
            for second in range(first + 1, len(OV)):
                for a, b in ((0, 3), (2, 1)):
                    one, other = OV[first, a], W[second, b]
                    expected = (one @ other).norm() / (one.norm() * other.norm())
                    torch.testing.assert_close(
                        found[first, a, second, b], expected, rtol=1e-4, atol=1e-6
                    )


@pytest.mark.parametrize("kind", ["Q", "K", "V"])
def test_a_composition_as_a_closed_diagram_is_its_square(kind):
    subject = tiny.subject("gpt2")
    OV, QK, _, _ = _dense(subject)
    closed = diagrams.composition(subject, kind, (0, 1), (2, 3))
    W = {"Q": QK, "K": QK.mT, "V": OV}[kind]
    assert closed.legs == ()
    expected = (OV[0, 1] @ W[2, 3]).square().sum()
    torch.testing.assert_close(closed.value(), expected, rtol=1e-4, atol=0)
    with pytest.raises(SettingError, match="later layer than 0, got layer 0.*exchanged"):
        diagrams.composition(subject, kind, (0, 1), (0, 3))


def test_the_strongest_compositions_are_named_and_compared_with_chance():
    scores = diagrams.composition_scores(
        tiny.subject("llama"), generator=torch.Generator().manual_seed(0)
    )
    best = scores.top("K", 3)
    assert best[0].score == float(scores.K.nan_to_num().max())
    (a, b), (c, d), score = best[1]
    assert float(scores.K[a, b, c, d]) == score <= best[0].score
    # Two random matrices of rank 8 in 32 dimensions.
    assert scores.baseline is not None and 0.1 < scores.baseline["V"] < 0.3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_singular_directions_are_those_of_the_dense_circuit(family):
    subject = tiny.subject(family)
    OV, _, W_E, out = _dense(subject)
    U, values, Vh = torch.linalg.svd(OV[1, 2])
    found = diagrams.unembed_singular(subject, (1, 2), k=3, n_tokens=4)
    by_diagram = diagrams.unembed_singular(
        subject, diagrams.head(subject, 1, 2).ov, k=3, n_tokens=4
    )
    decode = subject.tokenizer.decode
    n = len(subject.tokenizer)
    for i, (one, other) in enumerate(zip(found, by_diagram, strict=True)):
        assert one.value == pytest.approx(float(values[i]), rel=1e-4)
        assert other.value == pytest.approx(one.value, rel=1e-4)
        reads, writes = W_E[:n] @ U[:, i], (Vh[i] @ out)[:n]
        ends = {
            tuple(decode([j]) for j in (sign * reads).topk(4).indices.tolist())
            + tuple(decode([j]) for j in (sign * writes).topk(4).indices.tolist())
            for sign in (1, -1)
        }
        for direction in (one, other):
            assert ends == {
                direction.reads + direction.writes,
                direction.reads_against + direction.writes_against,
            }
        near = min(abs(float(values[i] - v)) for j, v in enumerate(values) if j != i)
        assert one.gap == pytest.approx(near / float(values[i]), rel=1e-2)


def test_only_circuits_between_residual_streams_are_decomposed():
    subject = tiny.subject("llama")
    with pytest.raises(SettingError, match="two legs of size 32, got legs source, out"):
        diagrams.unembed_singular(subject, diagrams.head(subject, 0, 0).ov_circuit)
    with pytest.raises(SettingError, match="k and n_tokens of at least 1, got 0 and 8"):
        diagrams.unembed_singular(subject, (0, 0), k=0)
    with pytest.raises(SettingError, match="head from 0 to 3, got 9"):
        diagrams.unembed_singular(subject, (0, 9))
