"""Texts that are decoded together are those that each prompt gives alone, and draws are exact."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import pytest
import torch
from tiny import D_MODEL, FAMILIES, subject

from unmask.edits import (
    NO_EDIT,
    AblateDirection,
    AddVector,
    Edit,
    Positions,
    ResidualNoise,
    Site,
    Tokens,
)
from unmask.errors import SettingError
from unmask.models import Row, sampling
from unmask.models import engine as engine_module
from unmask.models import slots as slots_module
from unmask.models.applying import tensor_of
from unmask.models.batch import Batch, TokenRow, lay_out
from unmask.models.engine import Engine
from unmask.models.forward import Decoder
from unmask.models.planner import shared_prefix
from unmask.models.sampling import Stopping, cut, end_tokens, generate
from unmask.models.slots import Slots

every_family = pytest.mark.parametrize("family", list(FAMILIES))
PREFIX = tuple(range(5, 30))
ENDS = frozenset(range(0, 260, 9))


def make_rows(prefix: tuple[int, ...] = ()) -> list[TokenRow]:
    tails = (tuple(range(60, 73)), (80,), tuple(range(90, 98)), (81, 82), (83, 84, 85))
    return [TokenRow((*prefix, *tail), key=key) for key, tail in enumerate(tails, 20)]


def make_edits() -> list[Edit]:
    vector = torch.linspace(-9, 9, D_MODEL)
    edits: list[Edit] = [NO_EDIT]
    for positions in get_args(Positions):
        noise = ResidualNoise(Site(0, "resid_post", positions), 4.0, seed=1)
        edits.append(
            noise + ResidualNoise(Site(2, "attn_out", positions), 4.0, 5, fresh="sequence")
        )
    return [
        *edits,
        AddVector(Site(1, "mlp_out", "answer"), vector),
        AddVector(Site(1, "mlp_out", "answer"), -vector),
        AblateDirection(Site(1, "resid_pre", "last"), vector),
        AddVector(Site(2, "resid_post"), vector),
    ]


def in_full_passes(
    decoder: Decoder, rows: Sequence[TokenRow], edit: Edit, n_new: int, ends=ENDS
) -> list[list[int]]:
    """Reference: the most probable token each time, whole texts run again for every one."""
    found: list[list[int]] = [[] for _ in rows]
    going = list(range(len(rows)))
    for _ in range(n_new):
        # New tokens are one continuation, so that the edit knows where the prompt ends.
        texts = [TokenRow(rows[i].prompt, (tuple(found[i]),), rows[i].key) for i in going]
        batch = lay_out(texts, range(len(texts)), 0, decoder.device)
        tokens = decoder.logits(decoder.full(batch, edit)[:, -1]).argmax(-1).tolist()
        new = {i: token for i, token in zip(going, tokens, strict=True) if token not in ends}
        for i, token in new.items():
            found[i].append(token)
        if not (going := list(new)):
            break
    return found


@functools.cache
def expected(family: str, prefix: tuple[int, ...], n_new: int) -> list[list[list[int]]]:
    decoder = subject(family).decoder
    return [in_full_passes(decoder, make_rows(prefix), edit, n_new) for edit in make_edits()]


@contextmanager
def passes_through_the_first_block(decoder: Decoder) -> Iterator[Counter]:
    """Count the tokens that go through block 0, by how many each row of a pass has."""
    counted: Counter = Counter()

    def count(_, __, output) -> None:
        rows, columns, _ = tensor_of(output).shape
        counted[columns] += rows

    handle = decoder.sublayers(0)["mlp_out"].register_forward_hook(count)
    try:
        yield counted
    finally:
        handle.remove()


@pytest.fixture
def n_texts(monkeypatch) -> list[int]:
    """Number of texts in each step; a step holds no more tokens of cache than a pass tokens."""
    monkeypatch.setattr(sampling, "tokens_in_cache", lambda decoder, tokens: tokens)
    step, found = Slots.step, []

    def counting(slots: Slots, tokens: Sequence[int]):
        found.append(len(tokens))
        return step(slots, tokens)

    monkeypatch.setattr(Slots, "step", counting)
    return found


@pytest.mark.parametrize(
    ("family", "prefix", "tokens_per_batch"),
    [
        *((family, (), 100) for family in FAMILIES),
        *((family, PREFIX, 2048) for family in ("llama", "gpt-neo")),
    ],
)
def test_texts_decoded_together_equal_each_prompt_alone(family, prefix, tokens_per_batch, n_texts):
    s = subject(family)
    rows, edits, n_new = make_rows(prefix), make_edits(), 6
    assert shared_prefix(rows) == len(prefix)
    wanted = expected(family, prefix, n_new)
    engine = Engine(s.decoder, pad=s.pad, tokens_per_batch=tokens_per_batch)
    found = generate(engine, rows, edits, Stopping(n_new, ENDS))
    for edit, of_edit, of_each in zip(edits, found, wanted, strict=True):
        assert of_edit == of_each, edit
    # Controls: edits change texts, texts end at different times, and wait for slots.
    assert len({str(of_each) for of_each in wanted}) > 5
    assert len({len(text) for of_each in wanted for text in of_each}) > 2
    if s.decoder.packs:
        assert len(set(n_texts)) > 1
        assert prefix or max(n_texts) == 5  # of 45, each with room for 13 + 6 tokens


@pytest.mark.parametrize("family", ["llama", "gpt-neo"])
def test_texts_move_when_columns_run_out(family, monkeypatch, n_texts):
    s = subject(family)
    moves = Counter()
    move = Slots._move

    def counting(slots: Slots) -> None:
        moves[family] += 1
        move(slots)

    monkeypatch.setattr(Slots, "_move", counting)
    monkeypatch.setattr(slots_module, "_SLACK", 2)
    n_new = 12
    rows, edits = make_rows()[:3], make_edits()[:4]
    engine = Engine(s.decoder, pad=s.pad, tokens_per_batch=3 * (13 + n_new))
    found = generate(engine, rows, edits, Stopping(n_new))
    assert max(n_texts) == 3 and moves[family] > 1
    for edit, of_edit in zip(edits, found, strict=True):
        assert of_edit == in_full_passes(s.decoder, rows, edit, n_new, ends=())


def test_a_prompt_is_run_once_for_edits_of_answers():
    s = subject()
    rows = [TokenRow(tuple(range(60 + k, 70 + k)), key=k) for k in range(3)]
    vectors = (torch.linspace(-k, k, s.d_model) for k in range(1, 6))
    edits = [AddVector(Site(0, "resid_pre", "answer"), vector) for vector in vectors]
    n_new = 4
    with passes_through_the_first_block(s.decoder) as counted:
        found = generate(Engine(s.decoder), rows, edits, Stopping(n_new))
    assert len({str(of_edit) for of_edit in found}) > 1
    # The first new token is chosen from the prompt, and the last is never run.
    assert counted == {10: len(rows), 1: (n_new - 1) * len(rows) * len(edits)}
    everywhere = [AddVector(Site(0, "resid_pre"), edit.vector) for edit in edits]
    with passes_through_the_first_block(s.decoder) as counted:
        generate(Engine(s.decoder), rows, everywhere, Stopping(n_new))
    assert counted[10] >= len(rows) * len(edits)  # control: such edits need their own


def test_a_shared_prefix_is_run_once(monkeypatch):
    s = subject()
    rows = [TokenRow((*PREFIX, 60 + k, 70 + k, 80 + k), key=k) for k in range(4)]
    edits = [NO_EDIT, AddVector(Site(1, "resid_pre", "last"), torch.linspace(-9, 9, D_MODEL))]
    with passes_through_the_first_block(s.decoder) as counted:
        found = generate(Engine(s.decoder), rows, edits, Stopping(5))
    assert counted[len(PREFIX)] == 1 and counted[3] == len(rows)
    assert len(PREFIX) + 3 not in counted
    monkeypatch.setattr(engine_module, "shared_prefix", lambda rows: 0)
    with passes_through_the_first_block(s.decoder) as counted:
        assert generate(Engine(s.decoder), rows, edits, Stopping(5)) == found
    assert counted[len(PREFIX) + 3] == len(rows)  # control


@pytest.mark.parametrize("family", ["llama", "openai-gpt"])
def test_no_new_tokens_cost_nothing(family):
    s = subject(family)
    rows = make_rows()
    with passes_through_the_first_block(s.decoder) as counted:
        found = generate(Engine(s.decoder), rows, [NO_EDIT, NO_EDIT], Stopping(0))
    assert found == [[[] for _ in rows]] * 2
    assert not counted
    assert all(generate(Engine(s.decoder), rows, [NO_EDIT], Stopping(1))[0])  # control


@pytest.mark.parametrize("family", ["llama", "openai-gpt"])
def test_a_text_ends_before_an_end_token_and_behind_what_stops_it(family):
    s = subject(family)
    row = make_rows()[:1]
    engine = Engine(s.decoder)
    [[text]] = generate(engine, row, [NO_EDIT], Stopping(10))
    assert len(text) == 10
    end = text[4]
    n = text.index(end)
    assert generate(engine, row, [NO_EDIT], Stopping(10, {end})) == [[text[:n]]]
    seen: list[list[int]] = []

    def stopped(index: int, tokens: list[int]) -> bool:
        seen.append(list(tokens))
        return end in tokens

    assert generate(engine, row, [NO_EDIT], Stopping(10, stopped=stopped)) == [[text[: n + 1]]]
    assert seen == [text[: k + 1] for k in range(n + 1)]


def test_a_text_is_cut_before_the_first_mark_that_follows_something():
    assert cut("\n one\ntwo. three", ("\n", ".")) == "one"
    assert cut("one. two\n", ("\n", ".")) == "one"
    assert cut(" one", ()) == "one"


def test_every_end_token_of_the_settings_ends_a_text(monkeypatch):
    s = subject()
    monkeypatch.setattr(s.model.generation_config, "eos_token_id", [3, 4])
    assert end_tokens(s.decoder, 5) == {3, 4, 5}
    monkeypatch.setattr(s.model.generation_config, "eos_token_id", 3)
    assert end_tokens(s.decoder, None) == {3}
    monkeypatch.setattr(s.model.generation_config, "eos_token_id", None)
    assert end_tokens(s.decoder, None) == set()


@pytest.mark.parametrize("family", ["llama", "openai-gpt"])
def test_draws_are_the_same_in_any_batch(family, n_texts):
    s = subject(family)
    rows, edits = make_rows(), make_edits()[:3]
    stopping = Stopping(6, ENDS, temperature=1.0, seed=3)
    together = generate(Engine(s.decoder), rows, edits, stopping)
    few_slots = Engine(s.decoder, tokens_per_batch=40)
    assert generate(few_slots, rows[::-1], edits, stopping) == [one[::-1] for one in together]
    for edit, of_edit in zip(edits, together, strict=True):
        for row, text in zip(rows, of_edit, strict=True):
            assert generate(Engine(s.decoder), [row], [edit], stopping) == [[text]]
    other_seed = Stopping(6, ENDS, temperature=1.0, seed=4)
    assert generate(Engine(s.decoder), rows, edits, other_seed) != together
    assert generate(Engine(s.decoder), rows, edits, Stopping(6, ENDS)) != together


def test_a_draw_depends_on_row_and_position():
    s = subject()
    prompt = tuple(range(60, 70))
    rows = [TokenRow(prompt, key=key) for key in (1, 1, 2, 3, 4)]
    texts = generate(Engine(s.decoder), rows, [NO_EDIT], Stopping(6, temperature=3.0))[0]
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) == 4
    # Logits that are the same at every position: the position alone makes draws differ.
    assert all(len(set(text)) > 1 for text in constant(s, rows, 6, temperature=3.0))


def constant(s, rows: Sequence[TokenRow], n_new: int, temperature: float) -> list[list[int]]:
    """Generate with one and the same residual stream after the last block."""
    site = Site(s.n_layers - 1)
    flat = torch.linspace(-3, 3, s.d_model)

    class Constant(AddVector):
        def change(self, acts, tokens: Tokens):
            return self.vector.expand_as(acts)

    edit = Constant(site, flat)
    return generate(Engine(s.decoder), rows, [edit], Stopping(n_new, temperature=temperature))[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    s = subject()
    n_rows, n_new = 40, 50
    rows = [TokenRow((60,), key=key) for key in range(n_rows)]
    texts = constant(s, rows, n_new, temperature)
    drawn = torch.tensor(texts).flatten()
    n = len(drawn)
    assert n == n_rows * n_new
    logits = s.decoder.logits(torch.linspace(-3, 3, s.d_model))

    def chi_squared(of: float) -> float:
        """Of the ten most probable tokens and the rest: ten degrees of freedom."""
        top = (logits / of).softmax(-1).topk(10)
        counts = torch.tensor([(drawn == token).sum() for token in top.indices])
        seen = torch.cat((counts, n - counts.sum(0, keepdim=True)))
        due = n * torch.cat((top.values, 1 - top.values.sum(0, keepdim=True)))
        return ((seen - due).square() / due).sum().item()

    assert chi_squared(temperature) < 29.6  # exceeded once in a thousand seeds
    assert chi_squared(1.5 * temperature) > 60  # control: it tells temperatures apart


@pytest.mark.parametrize("temperature", [-0.1, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_an_error(temperature):
    message = f"expected a finite temperature of at least 0, got {temperature}. 0 takes the most"
    with pytest.raises(SettingError, match=message):
        subject().generate([Row("Which letter?")], temperature=temperature)


@every_family
def test_texts_of_a_subject_are_those_of_its_tokens(family):
    s = subject(family)
    rows = [Row("Which letter?", key=1), Row("No", key=2)]
    edits = make_edits()[:3]
    sequences = [TokenRow(s.encode(row.text), key=row.key) for row in rows]
    ends = end_tokens(s.decoder, s.tokenizer.eos_token_id)
    found = generate(s.engine, sequences, edits, Stopping(5, ends, temperature=0.7, seed=2))
    texts = s.generate_under(rows, edits, max_new_tokens=5, stop=(), temperature=0.7, seed=2)
    for of_edit, tokens in zip(texts, found, strict=True):
        decoded = [s.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens]
        assert of_edit == [text.lstrip() for text in decoded]
    assert any(text for of_edit in texts for text in of_edit)


@pytest.mark.parametrize("family", ["llama", "openai-gpt"])
def test_a_layer_that_is_not_there_is_an_error(family):
    s = subject(family)
    edit = AddVector(Site(3), torch.ones(s.d_model))
    with pytest.raises(SettingError, match="expected a layer below 3 .*, got 3"):
        generate(Engine(s.decoder), make_rows(), [edit], Stopping(3))


@every_family
def test_generation_leaves_no_hook(family):
    s = subject(family)
    batch: Batch = lay_out(make_rows()[:1], (0,), s.pad, s.decoder.device)
    before = s.decoder.full(batch, NO_EDIT)

    def stopped(index: int, tokens: list[int]) -> bool:
        if len(tokens) > 2:
            raise RuntimeError("broken")
        return False

    with pytest.raises(RuntimeError, match="broken"):
        generate(Engine(s.decoder), make_rows(), make_edits(), Stopping(5, stopped=stopped))
    for module in s.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert "forward" not in vars(module)
    assert torch.equal(s.decoder.full(batch, NO_EDIT), before)
