"""Passes take no more memory than they may, and go on with less when there is too little."""

import logging
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from tiny import build, subject, tokenizer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unmask.edits import NO_EDIT, AddVector, Edit, Site, WeightNoise
from unmask.errors import SettingError, SubjectError
from unmask.models.batch import Batch, TokenRow
from unmask.models.check import checked
from unmask.models.engine import Engine
from unmask.models.forward import Decoder
from unmask.models.memory import bytes_per_token, is_out_of_memory, tokens_within
from unmask.models.sampling import Stopping, generate
from unmask.models.subject import Subject

MIB = 1 << 20
D_MODEL = 256


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors made while this is open that are alive at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        old = {storage(leaf)._cdata for leaf in tree_leaves((args, kwargs)) if is_tensor(leaf)}
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if is_tensor(leaf) and storage(leaf)._cdata not in old:
                self._count(storage(leaf))
        return output

    def _count(self, new: torch.UntypedStorage) -> None:
        key = new._cdata
        if key in self._known:
            return
        size = new.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone() -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.finalize(new, gone)


def is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


def storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def peak_bytes(run: Callable[[], object]) -> int:
    with LiveBytes() as live:
        run()
    return live.peak


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    model = build(
        "llama",
        hidden_size=D_MODEL,
        intermediate_size=512,
        num_hidden_layers=4,
        head_dim=64,
        initializer_range=0.05,
    )
    return checked(Decoder(model))


def make_rows(n_rows: int = 30, n_tokens: int = 100) -> list[TokenRow]:
    """Prompts of about so many tokens, each with two continuations."""
    return [
        TokenRow(tuple((7 * k + i) % 200 for i in range(n_tokens - k % 7)), ((1, 2), (3,)), k)
        for k in range(n_rows)
    ]


def make_edits(d_model: int) -> list[Edit]:
    vector = torch.linspace(-3, 3, d_model)
    return [
        NO_EDIT,
        *(AddVector(Site(1), k * vector) for k in range(1, 5)),
        *(AddVector(Site(1, "mlp_out", "last"), k * vector) for k in range(1, 5)),
    ]


def finals(engine: Engine, rows: Sequence[TokenRow], edits: Sequence[Edit]) -> list[list[Tensor]]:
    found: list[dict[int, Tensor]] = [{} for _ in edits]

    def read(number: int, batch: Batch, hidden: Tensor) -> None:
        for index, of_row in zip(batch.indices, hidden, strict=True):
            found[number][index] = of_row[: 1 + len(rows[index]) - len(rows[index].prompt)]

    engine.under(rows, edits, read)
    return [[some[index] for index in range(len(rows))] for some in found]


def test_the_tracker_counts_what_is_alive():
    def run() -> Tensor:
        one = torch.zeros(1000)  # 4000 bytes
        two = one + 1
        del one
        view = two[:500].view(5, 100)
        return view * 2  # 2000 bytes beside `two`

    with LiveBytes() as live:
        kept = run()
    assert live.peak == 8000
    assert live.now == kept.nbytes == 2000


BUDGETS = (4 * MIB, 16 * MIB)


@pytest.mark.parametrize("kind", ["activations", "weights"])
def test_passes_take_no_more_memory_than_they_may(decoder, kind):
    rows, edits = make_rows(), make_edits(D_MODEL)[::4]
    if kind == "weights":  # copies of weights are not part of passes, so few are changed
        edits = [WeightNoise(0.1, seed, match=r"layers\.1\..*norm") for seed in (1, 2)]

    def peak(engine: Engine) -> int:
        return peak_bytes(lambda: engine.under(rows, edits, lambda *_: None))

    assert peak(Engine(decoder, tokens_per_batch=1 << 14)) > max(BUDGETS)  # control
    for budget in BUDGETS:
        assert peak(Engine(decoder, memory=budget)) <= budget


def test_generation_takes_no_more_memory_than_it_may(decoder):
    rows = [TokenRow(row.prompt[:60], key=row.key) for row in make_rows(16)]
    edits = make_edits(D_MODEL)[::4]

    def peak(engine: Engine) -> int:
        return peak_bytes(lambda: generate(engine, rows, edits, Stopping(4)))

    assert peak(Engine(decoder, tokens_per_batch=1 << 14)) > max(BUDGETS)  # control
    for budget in BUDGETS:
        assert peak(Engine(decoder, memory=budget)) <= budget


def test_a_budget_changes_no_result(decoder):
    rows, edits = make_rows(6), make_edits(D_MODEL)
    small = Engine(decoder, memory=2 * MIB)
    large = Engine(decoder, tokens_per_batch=1 << 14)
    assert small.tokens_per_batch < 102 < 6 * 102 < large.tokens_per_batch
    for of_edit, expected in zip(
        finals(small, rows, edits), finals(large, rows, edits), strict=True
    ):
        for one, other in zip(of_edit, expected, strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_a_budget_lowers_the_tokens_of_a_batch():
    model = build("llama")
    default = Subject(model, tokenizer()).engine.tokens_per_batch
    found = [
        Subject(model, tokenizer(), memory=memory).engine.tokens_per_batch
        for memory in (MIB, 2 * MIB, 4 * MIB)
    ]
    assert 1 < found[0] < found[1] < found[2] < default
    assert Subject(model, tokenizer(), memory=1 << 40).engine.tokens_per_batch == default
    few = Subject(model, tokenizer(), memory=4 * MIB, tokens_per_batch=7)
    assert few.engine.tokens_per_batch == 7


def test_a_budget_too_small_is_an_error_that_says_what_is_enough():
    model = build("llama")
    with pytest.raises(SettingError, match="got 0.0 MiB. It is what passes may take") as caught:
        Subject(model, tokenizer(), memory=1)
    least = float(str(caught.value).split("at least ")[1].split(" MiB")[0])
    # The number is rounded, so a little more.
    enough = Subject(model, tokenizer(), memory=int((least + 0.1) * MIB))
    assert enough.engine.tokens_per_batch >= 1
    with pytest.raises(SettingError, match="expected a memory of at least"):
        enough.engine.limit_memory(0)


def test_tokens_within_a_budget_grow_with_it(decoder):
    found = [tokens_within(decoder, mib * MIB) for mib in (4, 8, 16, 32)]
    assert found == sorted(found)
    # What one token takes is the same everywhere; the part for logits is set aside once.
    per_token = 16 * MIB / (found[3] - found[2])
    assert per_token == pytest.approx(8 * MIB / (found[2] - found[1]), rel=0.02)
    assert per_token >= bytes_per_token(decoder)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_failed_allocations_are_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
]


@pytest.fixture
def limited(monkeypatch) -> Callable[[int, Exception], list[int]]:
    """Let passes of more than so many tokens fail; returns the sizes of those that did."""

    def limit(most: int, error: Exception) -> list[int]:
        blocks_on, failed = Decoder.blocks_on, []

        def limited_blocks_on(self, hidden, *args, **kwargs):
            if hidden.shape[0] * hidden.shape[1] > most:
                failed.append(hidden.shape[0] * hidden.shape[1])
                raise error
            return blocks_on(self, hidden, *args, **kwargs)

        monkeypatch.setattr(Decoder, "blocks_on", limited_blocks_on)
        return failed

    return limit


@pytest.mark.parametrize(
    ("kind", "error"),
    [("activations", ERRORS[0]), ("weights", ERRORS[1]), ("mixed", ERRORS[0])],
)
def test_what_does_not_fit_is_halved_with_one_warning(limited, caplog, error, kind):
    s = subject()
    rows = make_rows(9, 20)
    by_weights = [WeightNoise(0.1, seed) for seed in (1, 2)]
    edits = {
        "activations": make_edits(s.d_model)[::2],
        "weights": by_weights,
        "mixed": [*make_edits(s.d_model)[::4], *by_weights],
    }[kind]
    expected = finals(Engine(s.decoder), rows, edits)
    assert max(map(len, rows)) == 23
    failed = limited(30, error)
    engine = Engine(s.decoder)
    before = engine.tokens_per_batch
    with caplog.at_level(logging.WARNING, logger="unmask"):
        found = finals(engine, rows, edits)
    for of_edit, of_expected in zip(found, expected, strict=True):
        for one, other in zip(of_edit, of_expected, strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()
    assert len(failed) > 1
    assert engine.tokens_per_batch == before >> len(failed)
    assert [record.message.split(":")[0] for record in caplog.records] == ["out of memory"]
    n_failed = len(failed)
    finals(engine, rows, edits)  # it has learnt
    assert len(failed) == n_failed and len(caplog.records) == 1


def test_generation_halves_batches_that_do_not_fit(limited, caplog):
    s = subject()
    rows = [TokenRow(row.prompt, key=row.key) for row in make_rows(9, 20)]
    edits = make_edits(s.d_model)[::3]
    expected = generate(Engine(s.decoder), rows, edits, Stopping(4))
    failed = limited(30, ERRORS[0])
    with caplog.at_level(logging.WARNING, logger="unmask"):
        found = generate(Engine(s.decoder), rows, edits, Stopping(4))
    assert found == expected
    assert len(failed) > 1 and len(caplog.records) == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("by", ["activations", "weights"])
def test_a_row_that_never_fits_is_an_error(limited, error, by):
    s = subject()
    edits = make_edits(s.d_model)[:2] if by == "activations" else [WeightNoise(0.1, 1)]
    weights = {name: weight.clone() for name, weight in s.model.state_dict().items()}
    failed = limited(10, error)
    with pytest.raises(SubjectError, match="expected memory for one row under one edit") as caught:
        finals(Engine(s.decoder), make_rows(3, 20), edits)
    assert caught.value.__cause__ is error
    assert failed[-1] == 23  # one row was tried alone
    for name, weight in s.model.state_dict().items():
        assert torch.equal(weight, weights[name])


def test_other_errors_are_not_taken_for_it(limited, caplog):
    s = subject()
    failed = limited(10, RuntimeError("shape mismatch"))
    engine = Engine(s.decoder)
    before = engine.tokens_per_batch
    with pytest.raises(RuntimeError, match="shape mismatch"):
        finals(engine, make_rows(3, 20), [NO_EDIT])
    assert len(failed) == 1 and engine.tokens_per_batch == before
    assert not caplog.records
