"""A segment of blocks gives the gradients that the whole model gives."""

import pytest
import torch
from tiny import FAMILIES, build, subject
from torch import Tensor

from unmask.errors import SettingError
from unmask.models.applying import tensor_of, with_tensor
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.check import checked
from unmask.models.forward import Decoder
from unmask.models.segments import Segment, frozen

every_family = pytest.mark.parametrize("family", list(FAMILIES))
START, STOP = 1, 3


def make_batch(decoder: Decoder) -> Batch:
    rows = [TokenRow(tuple(range(40, 51))), TokenRow((60, 61, 62), ((5, 9),))]
    return lay_out(rows, (0, 1), 0, decoder.device)


def of_whole_model(decoder: Decoder, batch: Batch, added: Tensor, column: int) -> Tensor:
    """Reference: what leaves the last block of the segment, in the model's own forward pass."""

    def before(_, args, kwargs):
        hidden = args[0]
        changed = torch.cat((hidden[:, :column], hidden[:, column:] + added), dim=1)
        return (changed, *args[1:]), kwargs

    caught: list[Tensor] = []

    def after(_, __, output):
        caught.append(tensor_of(output))
        return with_tensor(output, caught[-1])

    handles = [
        decoder.blocks[START].register_forward_pre_hook(before, with_kwargs=True),
        decoder.blocks[STOP - 1].register_forward_hook(after),
    ]
    try:
        decoder._base(batch.input_ids, batch.attention_mask, batch.position_ids)
    finally:
        for handle in handles:
            handle.remove()
    return caught[0][:, column:]


@every_family
@pytest.mark.parametrize("column", [0, 4, 11])
def test_gradients_equal_those_through_the_whole_model(family, column):
    decoder = subject(family).decoder
    if column and not decoder.packs:
        pytest.skip("this family has no cache")
    batch = make_batch(decoder)
    segment = Segment(decoder, batch, START, STOP, column)
    real = (batch.tokens.pos >= 0)[:, column:]
    gen = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, decoder.d_model, generator=gen).requires_grad_()

    def change(leaving: Tensor) -> Tensor:
        return (leaving - segment.leaving)[..., real, :].square().sum()

    leaving = segment(segment.entering + vectors[:, None, None])
    (found,) = torch.autograd.grad(change(leaving), vectors)
    for copy, vector in enumerate(vectors.detach()):
        vector.requires_grad_()
        expected = of_whole_model(decoder, batch, vector, column)
        torch.testing.assert_close(leaving[copy][real], expected[real], rtol=0, atol=1e-4)
        assert change(expected) > 1  # the vector changes what leaves
        (gradient,) = torch.autograd.grad(change(expected), vector)
        assert gradient.norm() > 0.1
        assert (found[copy] - gradient).norm() <= 1e-5 * gradient.norm()


@every_family
def test_an_unchanged_stream_leaves_as_it_does_in_the_whole_model(family):
    decoder = subject(family).decoder
    batch = make_batch(decoder)
    segment = Segment(decoder, batch, START, STOP)
    real = batch.tokens.pos >= 0
    with torch.no_grad():
        expected = of_whole_model(decoder, batch, torch.zeros(decoder.d_model), 0)
    assert torch.equal(segment.leaving[real], expected[real])
    assert not torch.allclose(segment.entering[real], expected[real])


@every_family
@pytest.mark.parametrize("column", [0, 4])
def test_copies_at_once_equal_each_alone(family, column):
    decoder = subject(family).decoder
    if column and not decoder.packs:
        pytest.skip("this family has no cache")
    segment = Segment(decoder, make_batch(decoder), START, STOP, column)
    real = (segment.batch.tokens.pos >= 0)[:, column:]
    gen = torch.Generator().manual_seed(0)
    streams = segment.entering + torch.randn(4, *segment.entering.shape, generator=gen)
    together = segment(streams)
    for stream, leaving in zip(streams, together, strict=True):
        alone = segment(stream[None])[0]
        assert (alone - segment.leaving)[real].abs().max() > 0.1
        torch.testing.assert_close(leaving[real], alone[real], rtol=0, atol=1e-4)


@every_family
def test_weights_get_no_gradient_and_are_as_trainable_as_before(family):
    decoder = checked(Decoder(build(family)))
    untrained = next(decoder.blocks[1].parameters())
    untrained.requires_grad_(False)
    trainable = [weight.requires_grad for weight in decoder.model.parameters()]
    assert sum(trainable) == len(trainable) - 1
    segment = Segment(decoder, make_batch(decoder), START, STOP)
    stream = segment.entering.clone().requires_grad_()
    segment(stream[None]).square().sum().backward()
    assert stream.grad is not None and stream.grad.abs().max() > 0
    assert all(weight.grad is None for weight in decoder.model.parameters())
    assert [weight.requires_grad for weight in decoder.model.parameters()] == trainable
    # Control: without the segment weights get gradients.
    of_whole_model(decoder, make_batch(decoder), stream.new_zeros(()), 0).square().sum().backward()
    assert any(weight.grad is not None for weight in decoder.model.parameters())


def test_weights_are_trainable_again_after_an_exception():
    model = build("llama")
    with pytest.raises(RuntimeError, match="broken"), frozen(model):
        assert not any(weight.requires_grad for weight in model.parameters())
        raise RuntimeError("broken")
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (2, 1), (0, 4), (3, 4)])
def test_blocks_that_are_not_there_are_an_error(start, stop):
    decoder = subject().decoder
    message = f"expected blocks start < stop among 0 to 3 .*, got {start} to {stop}. `stop` is"
    with pytest.raises(SettingError, match=message):
        Segment(decoder, make_batch(decoder), start, stop)


@pytest.mark.parametrize("column", [-1, 13, 40])
def test_a_column_that_is_not_there_is_an_error(column):
    decoder = subject().decoder
    batch = make_batch(decoder)
    assert batch.n_columns == 13
    with pytest.raises(SettingError, match=f"expected a first column below 13 .*, got {column}"):
        Segment(decoder, batch, 0, 1, column)
    Segment(decoder, batch, 0, 1, 12)


def test_a_model_whose_blocks_cannot_be_run_by_themselves_is_an_error():
    message = "expected a model whose blocks can be run by themselves, got one that needs full"
    no_cache = subject("openai-gpt").decoder
    with pytest.raises(SettingError, match=message):
        Segment(no_cache, make_batch(no_cache), 0, 2, column=4)
    Segment(no_cache, make_batch(no_cache), 0, 2, column=0)  # as the message suggests
    inexact = Decoder(build("llama"))
    inexact.exact = False
    with pytest.raises(SettingError, match=message):
        Segment(inexact, make_batch(inexact), 0, 2)
