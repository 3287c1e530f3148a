"""The engine against other libraries: last and all positions, the same numbers demanded of all."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.compare import Row, row, timed
from benchmarks.model import OPTIONS
from benchmarks.peers import Peer, Reply
from benchmarks.workloads import Scoring


def run(works: list[Scoring], names: tuple[str, ...], rounds: int) -> list[Row]:
    """Compare the engine's whole calls with each library's, round by round.

    Raises:
        AssertionError: If a library's log-probabilities are not ours.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        _write(Path(folder), works[0].model, works[0])
        peers = [
            stack.enter_context(Peer(name, Path(folder), torch.get_num_threads())) for name in names
        ]
        for work in works:
            rows += _against(work, peers, rounds)
    return rows


def _against(work: Scoring, peers: list[Peer], rounds: int) -> list[Row]:
    expected = work.whole()[:, 0]
    ratios: dict[str, list[float]] = {}
    ours: list[float] = []
    for number in range(rounds + 1):
        mine = timed(work.whole)
        for peer in peers:
            reply = peer.run(work.positions, work.block)
            if reply is None:
                continue
            _check(reply, expected, peer)
            if number:  # the first round warms up
                ratios.setdefault(peer.version, []).append(reply.seconds / mine)
        if number:
            ours.append(mine)
    return [row(work.name, version, found, ours) for version, found in ratios.items()]


def _check(reply: Reply, expected: torch.Tensor, peer: Peer) -> None:
    error = (torch.tensor(reply.log_probs) - expected).abs().max().item()
    assert error < 1e-3, f"{peer.version} differs by {error:.2g}"


def _write(folder: Path, model: PreTrainedModel, work: Scoring) -> None:
    model.save_pretrained(folder / "model")
    words = {str(number): number for number in range(model.config.vocab_size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="0"))  # none is used; some libraries load one
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="0", eos_token="0", pad_token="0"
    ).save_pretrained(folder / "model")
    inputs = {
        "input_ids": torch.tensor(work.ids),
        "vectors": work.vectors,
        "options": torch.tensor(OPTIONS),
    }
    save_file(inputs, folder / "inputs.safetensors")
