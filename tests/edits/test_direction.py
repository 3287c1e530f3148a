"""Sites and tokens, added vectors, ablated directions, composition."""

from dataclasses import dataclass

import pytest
import torch

from unmask.edits import (
    NO_EDIT,
    AblateDirection,
    ActivationEdit,
    AddVector,
    ResidualNoise,
    Site,
    Tokens,
    WeightNoise,
)
from unmask.errors import SettingError

#  row 0: padding, three prompt tokens, two of the answer; row 1: one prompt token, three of it.
TOKENS = Tokens(
    torch.tensor([1, 2]),
    torch.tensor([[-1, 0, 1, 2, 3, 4], [-2, -1, 0, 1, 2, 3]]),
    torch.tensor([3, 1]),
)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ("all", [[0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]),
        ("prompt", [[0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0]]),
        ("last", [[0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]]),
        ("answer", [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]),
    ],
)
def test_positions_by_hand(positions, expected):
    assert TOKENS.mask(positions).int().tolist() == expected
    acts = torch.zeros(2, 6, 4)
    edited = AddVector(Site(0, positions=positions), torch.ones(4)).apply(acts, TOKENS)
    assert edited[..., 0].int().tolist() == expected
    assert not acts.any()


def test_padding_is_never_edited_even_in_an_empty_prompt():
    empty = Tokens(torch.tensor([1]), torch.tensor([[-1, 0]]), torch.tensor([0]))
    assert not empty.mask("last").any()
    acts = torch.zeros(1, 2, 4)
    assert AddVector(Site(0, positions="last"), torch.ones(4)).apply(acts, empty) is acts


def test_what_stands_at_other_positions_is_kept_bit_for_bit_even_nan():
    acts = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    acts[0, 0] = acts[1, 5] = torch.nan
    edited = AddVector(Site(0, positions="last"), torch.ones(4)).apply(acts, TOKENS)
    mask = TOKENS.mask("last")
    assert torch.equal(edited[~mask].view(torch.int32), acts[~mask].view(torch.int32))
    assert torch.equal(edited[mask], acts[mask] + 1)


def test_a_site_s_first_block():
    assert [Site(3, s).first_block for s in ("resid_pre", "attn_out", "mlp_out")] == [3, 3, 3]
    assert Site(3, "resid_post").first_block == 4
    with pytest.raises(SettingError, match="expected a layer of at least 0, got -1"):
        Site(-1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_add_vector_adds_the_scaled_vector(dtype):
    acts = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    vector = torch.tensor([1.0, -2.0, 0.0, 3.0])
    edited = AddVector(Site(0), vector, scale=0.5).apply(acts, TOKENS)
    real = TOKENS.pos >= 0
    assert edited.dtype == dtype
    assert torch.equal(edited[real], (acts[real].double() + 0.5 * vector).to(dtype))


def test_ablation_leaves_no_component_and_is_idempotent():
    gen = torch.Generator().manual_seed(0)
    acts = torch.randn(2, 6, 8, generator=gen, dtype=torch.float64)
    direction = torch.randn(8, generator=gen, dtype=torch.float64)
    edit = AblateDirection(Site(0), direction)
    real = TOKENS.pos >= 0
    assert (acts[real] @ direction).abs().max() > 0.1  # there was something to remove
    edited = edit.apply(acts, TOKENS)
    assert (edited[real] @ direction).abs().max() < 1e-12
    torch.testing.assert_close(edit.apply(edited, TOKENS), edited)
    scaled = AblateDirection(Site(0), -7 * direction).apply(acts, TOKENS)
    torch.testing.assert_close(scaled, edited)  # only its span matters
    basis = torch.linalg.qr(torch.stack([direction, *torch.randn(7, 8, generator=gen).double()]).T)[
        0
    ]
    torch.testing.assert_close(edited[real] @ basis[:, 1:], acts[real] @ basis[:, 1:])


def test_ablation_in_half_precision_leaves_no_more_than_its_rounding():
    gen = torch.Generator().manual_seed(0)
    acts = (50 * torch.randn(2, 6, 64, generator=gen)).bfloat16()
    direction = torch.randn(64, generator=gen)
    edited = AblateDirection(Site(0), direction).apply(acts, TOKENS).double()
    real = TOKENS.pos >= 0
    left = (edited[real] @ (direction / direction.norm()).double()).abs()
    assert (left <= 2.0**-8 * edited[real].norm(dim=-1)).all()


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_direction_without_length_is_an_error(bad):
    with pytest.raises(SettingError, match="expected a finite, non-zero direction, got norm"):
        AblateDirection(Site(0), torch.full((4,), bad))


def test_a_vector_that_is_not_finite_or_of_another_width_is_an_error():
    with pytest.raises(SettingError, match="expected a finite vector and scale, got scale nan"):
        AddVector(Site(0), torch.ones(4), scale=float("nan"))
    with pytest.raises(SettingError, match="expected a finite vector and scale"):
        AddVector(Site(0), torch.tensor([1.0, torch.inf]))
    for edit in (AddVector(Site(0), torch.ones(1)), AblateDirection(Site(0), torch.ones(5))):
        with pytest.raises(
            SettingError, match="expected a vector of length d_model = 4, got shape"
        ):
            edit.apply(torch.zeros(2, 6, 4), TOKENS)


@dataclass(frozen=True)
class Double(ActivationEdit):
    site: Site

    def change(self, acts, tokens):
        return 2 * acts


def test_composition_keeps_the_order_and_sorts_the_parts():
    add, double, noise = AddVector(Site(0), torch.ones(4)), Double(Site(1)), WeightNoise(0.1, 0)
    edit = add + (noise + double) + NO_EDIT
    assert edit.parts == (add, noise, double)
    assert edit.activations == (add, double)
    assert edit.weights == (noise,)
    assert NO_EDIT.parts == () and (NO_EDIT + NO_EDIT).parts == ()
    assert (add + double).parts != (double + add).parts
    assert ResidualNoise(Site(0), 1.0, 0).parts != NO_EDIT.parts
