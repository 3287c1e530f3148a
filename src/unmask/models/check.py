"""Whether passes block by block equal the model's own forward pass; run when a model is loaded."""

import logging
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.edits import NO_EDIT
from unmask.errors import SubjectError
from unmask.models.batch import TokenRow, lay_out
from unmask.models.forward import Decoder
from unmask.models.passes import Needs, clean, edited, whole

_log = logging.getLogger(__name__)

_CLOSE = {torch.float64: 1e-4, torch.float32: 1e-3}
"""Largest error of a packed pass over the size of what the blocks add; 0.1 in half precision.

Other kernels round otherwise; a token that sees what it must not, or at a wrong place, moves the
result by far more.
"""


@torch.no_grad()
def checked(decoder: Decoder) -> Decoder:
    """Find out how a decoder's passes may be put together, and set `exact` and `packs`.

    Raises:
        SubjectError: If norm and unembedding do not give the model's own logits.
    """
    _check_logits(decoder)
    packs = decoder.packs
    decoder.exact = _attempt(decoder, _is_exact)
    decoder.packs = packs and decoder.exact and _attempt(decoder, _packs_well)
    if packs and not decoder.packs:  # again, with the model's own masks
        decoder.exact = _attempt(decoder, _is_exact)
    return decoder


def _check_logits(decoder: Decoder) -> None:
    """Compare what is read of the last block with the logits of the model's own forward pass.

    Some models scale, cap or shift their logits after the unembedding; every score would be wrong.
    """
    batch = lay_out([TokenRow(_ids(decoder))], (0,), 0, decoder.device)
    own = decoder.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    own = own.float()
    read = decoder.logits(decoder.full(batch, NO_EDIT)).to(own.device)
    if not bool(torch.isfinite(own).all()):
        dtype = str(decoder.dtype).removeprefix("torch.")
        raise SubjectError(
            f"expected finite logits of {type(decoder.model).__name__} in {dtype}, got NaN or "
            "infinite ones. Activations probably overflow in this dtype. Try --dtype float32, or "
            "bfloat16."
        )
    error = float((read - own).abs().max())
    if not error <= _CLOSE.get(decoder.dtype, 0.1) * max(float(own.std()), 1e-6):
        raise SubjectError(
            f"expected norm and unembedding of {type(decoder.model).__name__} to give the model's "
            f"own logits, got a difference of {error:.3g}. The model probably scales or caps its "
            "logits in a way that is not known here, and every score would be wrong. Audit "
            "another model, or add this to `Decoder.logits` in unmask/models/forward.py."
        )


def _attempt(decoder: Decoder, question: Callable[[Decoder], bool]) -> bool:
    try:
        return question(decoder)
    except Exception as error:  # whatever a block raises that needs what was not run
        _log.warning("replaying a block failed: %s: %s", type(error).__name__, error)
        return False


def _is_exact(decoder: Decoder) -> bool:
    """Compare a pass, and resuming it at every block, with the model's own, bit for bit."""
    ids = _ids(decoder)
    batch = lay_out([TokenRow(ids), TokenRow(ids[:5])], (0, 1), 0, decoder.device)
    real = batch.tokens.pos >= 0
    expected = decoder.full(batch, NO_EDIT)[real]
    run, hidden = whole(decoder, batch)
    entering = [hidden]
    for block in range(decoder.n_layers):
        entering.append(run.through(entering[-1], range(block, block + 1)))
    return all(
        torch.equal(run.through(hidden, range(block, decoder.n_layers))[real], expected)
        for block, hidden in enumerate(entering)
    )


def _packs_well(decoder: Decoder) -> bool:
    """Compare two continuations in one row, resumed in the middle, with each in its own row."""
    ids = _ids(decoder)
    pairs = ((ids[4:7], ids[2:4]), (ids[1:3], ids[6:8]))
    prompts = (ids[:6], ids[3:7])
    packed = [TokenRow(prompt, pair) for prompt, pair in zip(prompts, pairs, strict=True)]
    alone = [
        TokenRow(prompt, (one,))
        for prompt, pair in zip(prompts, pairs, strict=True)
        for one in pair
    ]
    expected = []
    for row in alone:
        batch = lay_out([row], (0,), 0, decoder.device)
        expected.append(decoder.full(batch, NO_EDIT)[0, len(row.prompt) :])
    batch = lay_out(packed, (0, 1), 0, decoder.device)
    column, block = batch.n_prompt - 2, decoder.n_layers // 2
    keys = range(decoder.n_layers)
    done = clean(decoder, batch, Needs({0: 0, block: column}, keys))
    added = (torch.cat(expected) - _entered(decoder, alone)).norm()
    for found, _ in edited(decoder, done, [(), ()], block, column, "tree"):
        texts = [
            found[row, 1 + offset : 1 + offset + len(one)]
            for row, pair in enumerate(pairs)
            for offset, one in zip((0, len(pair[0])), pair, strict=True)
        ]
        error = (torch.cat(texts) - torch.cat(expected)).norm()
        if not error <= _CLOSE.get(decoder.dtype, 0.1) * added:
            return False
    return True


def _entered(decoder: Decoder, rows: list[TokenRow]) -> Float[Tensor, "pos d_model"]:
    """What enters the first block at the tokens of continuations."""
    found = []
    for row in rows:
        batch = lay_out([row], (0,), 0, decoder.device)
        hidden, _ = decoder.enter(batch.input_ids, batch.position_ids)
        found.append(hidden[0, len(row.prompt) :])
    return torch.cat(found)


def _ids(decoder: Decoder) -> tuple[int, ...]:
    return tuple((7 * i + 3) % decoder.d_vocab for i in range(9))
