"""Scores and generations of every family against plain transformers and a slow reference."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny import FAMILIES, build, subject, tokenizer

from unmask.edits import NO_EDIT, AddVector, ResidualNoise, Site, WeightNoise
from unmask.errors import SettingError, SubjectError
from unmask.models import Row, check
from unmask.models.batch import TokenRow, lay_out, make_batches
from unmask.models.rows import join
from unmask.models.sampling import Stopping, generate
from unmask.models.subject import Subject
from unmask.models.weights_hash import weights_hash

every_family = pytest.mark.parametrize("family", list(FAMILIES))

ROWS = [
    Row("Which letter?", ("A", "B", "C", "D"), key=1),
    Row("Say the rest: one two", ("three", "four and five", " he"), key=2),
    Row("A", ("A", "no"), key=3),
    Row("The answer is", ("the", "E"), key=4),
    Row("Long enough to be sorted before the others, yes", ("only one",), key=5),
]


def plain_scores(s: Subject, row: Row) -> tuple[list[float], bool]:
    """Score each choice by a plain loop over transformers, one unpadded row at a time."""
    prompt = s.tokenizer(row.text)["input_ids"]
    sums, firsts = [], []
    for choice in row.choices:
        ids = s.tokenizer(join(row.text, choice))["input_ids"]
        assert ids[: len(prompt)] == prompt
        with torch.no_grad():
            log_probs = s.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        steps = range(len(prompt), len(ids))
        sums.append(sum(log_probs[place - 1, ids[place]].item() for place in steps))
        firsts.append(ids[len(prompt)])
        top = int(log_probs[len(prompt) - 1].argmax())
    return sums, top in firsts


@every_family
@pytest.mark.parametrize("tokens_per_batch", [30, 4096])
def test_choices_equal_a_plain_loop(family, tokens_per_batch):
    s = subject(family)
    s.engine.tokens_per_batch = tokens_per_batch
    try:
        scores = s.choices(ROWS)
    finally:
        s.engine.tokens_per_batch = 4096
    for row, score in zip(ROWS, scores, strict=True):
        expected, parsed = plain_scores(s, row)
        assert score.log_probs == pytest.approx(expected, abs=1e-4)
        assert score.parsed == parsed
        assert score.n_tokens == tuple(len(s.continuation(row.text, c)) for c in row.choices)
    assert scores[0].n_tokens == (1, 1, 1, 1)  # both kinds are there
    assert scores[1].n_tokens[0] > 1


def test_parsed_says_whether_a_choice_comes_first():
    s = subject()
    prompt = torch.tensor([s.encode("Which letter?")])
    with torch.no_grad():
        order = s.model(prompt).logits[0, -1].argsort(descending=True)
    texts = [s.tokenizer.decode([token]) for token in order.tolist()]
    # A choice is joined by a space, so take a token that starts with one.
    spaced = [text for text in texts if text.startswith(" ") and len(text) > 1]
    edit = AddVector(Site(s.n_layers - 1), pushing(s, s.continuation("?", spaced[0].strip())[0]))
    row = Row("Which letter?", (spaced[0].strip(), spaced[1].strip()))
    assert s.choices([row], edit)[0].parsed
    assert not s.choices([replace(row, choices=(spaced[1].strip(),))], edit)[0].parsed


def pushing(s: Subject, token: int) -> torch.Tensor:
    return 1e4 * s.decoder.unembedding.weight[token].detach()


@every_family
def test_scores_under_several_edits_equal_each_alone(family):
    s = subject(family)
    before = weights_hash(s.model)
    edits = [
        NO_EDIT,
        ResidualNoise(Site(1), 0.5, seed=3),
        WeightNoise(0.3, seed=1),
        ResidualNoise(Site(0, "attn_out", "last"), 2.0, seed=3) + WeightNoise(0.3, seed=2),
        NO_EDIT,
    ]
    together = s.choices_under(ROWS, edits)
    for edit, scores in zip(edits, together, strict=True):
        for one, other in zip(s.choices(ROWS, edit), scores, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
    assert together[0] == together[4]
    for changed in together[1:4]:
        assert abs(changed[0].log_probs[0] - together[0][0].log_probs[0]) > 1e-3
    assert weights_hash(s.model) == before


@every_family
def test_noise_gives_the_same_scores_for_any_batch_size_order_and_padding(family):
    s = subject(family)
    edit = ResidualNoise(Site(0), 0.5, seed=3) + ResidualNoise(
        Site(1, "mlp_out"), 0.5, seed=3, fresh="sequence"
    )
    together = s.choices(ROWS, edit)
    alone = [s.choices([row], edit)[0] for row in ROWS]
    reverse = s.choices(ROWS[::-1], edit)[::-1]
    for one, two, three in zip(together, alone, reverse, strict=True):
        assert one.log_probs == pytest.approx(two.log_probs, abs=1e-4)
        assert one.log_probs == pytest.approx(three.log_probs, abs=1e-4)
    other = s.choices([replace(ROWS[0], key=99)], edit)[0]
    assert abs(other.log_probs[0] - together[0].log_probs[0]) > 1e-3
    again = s.choices([replace(ROWS[0], key=99)] * 2, edit)
    assert again[0] == again[1]


@every_family
def test_every_choice_of_a_row_meets_the_same_noise(family):
    """Whether one reading serves all choices, or each has its own."""
    s = subject(family)
    edit = ResidualNoise(Site(0), 1.0, seed=3)
    short = s.choices([Row("Which letter?", ("A", "B"), key=7)], edit)[0]
    long = s.choices([Row("Which letter?", ("A", "no", "B"), key=7)], edit)[0]
    assert short.n_tokens == (1, 1) and long.n_tokens == (1, 3, 1)
    assert long.log_probs[::2] == pytest.approx(short.log_probs, abs=1e-4)


PROMPTS = ["Which letter?", "A", "Say the rest: one two"]
N_NEW = 10


def new_tokens(s: Subject, texts, edit=NO_EDIT, keys=(1, 2, 3)) -> list[list[int]]:
    rows = [TokenRow(s.encode(text), key=key) for text, key in zip(texts, keys, strict=False)]
    return generate(s.engine, rows, [edit], Stopping(N_NEW))[0]


@every_family
def test_greedy_generation_equals_transformers(family):
    s = subject(family)
    batch = s.tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    batch.pop("token_type_ids", None)
    settings = {"do_sample": False, "max_new_tokens": N_NEW, "eos_token_id": None}
    found = new_tokens(s, PROMPTS)
    if family == "openai-gpt":  # its own generation ignores padding
        expected = torch.zeros(0)
    else:
        expected = s.model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :]
        assert found == expected.tolist()
    for text, tokens in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([s.encode(text)])
        alone = s.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert alone[0, ids.shape[1] :].tolist() == tokens
        assert new_tokens(s, [text]) == [tokens]


@every_family
@pytest.mark.parametrize("positions", ["all", "last", "answer"])
def test_generation_under_an_edit_equals_running_the_whole_prefix_each_time(family, positions):
    """Noise is the same number at the same position, whether it comes from a cache step or not."""
    s = subject(family)
    edit = ResidualNoise(Site(0, "resid_post", positions), 4.0, seed=1) + ResidualNoise(
        Site(2, "attn_out", positions), 4.0, seed=5, fresh="sequence"
    )
    found = new_tokens(s, PROMPTS, edit)
    for key, (text, tokens) in enumerate(zip(PROMPTS, found, strict=True), start=1):
        answer: tuple[int, ...] = ()
        for _ in range(N_NEW):
            row = TokenRow(s.encode(text), (answer,), key)
            hidden = s.decoder.full(lay_out([row], [0], 0, s.decoder.device), edit)
            answer += (int(s.decoder.logits(hidden[0, -1]).argmax()),)
        assert list(answer) == tokens
    assert found != new_tokens(s, PROMPTS)


def test_noise_is_not_repeated_at_each_generated_token():
    """A generator that is re-seeded in every forward pass gives each new token the same noise."""
    s = subject()
    seen = []

    class Recorded(ResidualNoise):
        def change(self, acts, tokens):
            after = super().change(acts, tokens)
            seen.append((after - acts)[:, -1].flatten())
            return after

    new_tokens(s, PROMPTS[:1], Recorded(Site(1), 1.0, seed=1, size="absolute"))
    draws = torch.stack(seen)
    assert len(draws) == N_NEW
    correlation = torch.corrcoef(draws).fill_diagonal_(0)
    assert correlation.abs().max() < 0.7  # 32 numbers each; repeated noise would give 1


def test_generate_ends_at_the_end_token_and_before_stop_strings():
    s = subject()
    rows = [Row(text, key=key) for key, text in enumerate(PROMPTS)]
    ids = new_tokens(s, PROMPTS)
    texts = s.generate(rows, max_new_tokens=N_NEW, stop=())
    assert texts == [s.tokenizer.decode(one, skip_special_tokens=True).lstrip() for one in ids]
    whole = texts[0]
    mark = whole[3:5]
    assert s.generate(rows, max_new_tokens=N_NEW, stop=(mark,))[0] == whole.split(mark, 1)[0]
    assert s.generate(rows, max_new_tokens=0) == ["", "", ""]
    end = ids[0][4]
    before, s.model.generation_config.eos_token_id = s.model.generation_config.eos_token_id, [end]
    try:
        cut = s.generate(rows, max_new_tokens=N_NEW, stop=())[0]
    finally:
        s.model.generation_config.eos_token_id = before
    assert cut == s.tokenizer.decode(ids[0][: ids[0].index(end)]).lstrip()


def test_weight_noise_reaches_generation_and_is_undone():
    s = subject()
    rows = [Row(text) for text in PROMPTS]
    before = weights_hash(s.model)
    plain = s.generate(rows, stop=())
    assert s.generate(rows, WeightNoise(0.5, seed=1), stop=()) != plain
    assert weights_hash(s.model) == before
    assert s.generate(rows, stop=()) == plain


def test_an_error_while_scoring_restores_weights_and_hooks(monkeypatch):
    s = subject()
    before = weights_hash(s.model)

    def fail(*_):
        assert weights_hash(s.model) != before  # the weights are noisy at this moment
        raise RuntimeError("out of memory")

    monkeypatch.setattr(s.decoder, "logits", fail)
    with pytest.raises(RuntimeError, match="out of memory") as kept:
        s.choices(ROWS, WeightNoise(0.5, seed=1))
    assert weights_hash(s.model) == before
    with pytest.raises(RuntimeError, match="out of memory"):
        s.generate(ROWS, WeightNoise(0.5, seed=1))
    assert weights_hash(s.model) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in s.model.modules())
    del kept


def test_nothing_touches_the_global_generator():
    s = Subject(build("gemma3"), tokenizer())
    state = torch.get_rng_state()
    edit = (
        ResidualNoise(Site(0), 0.5, seed=1)
        + ResidualNoise(Site(1), 0.5, seed=1, kind="positive", fresh="run")
        + WeightNoise(0.1, seed=1)
    )
    Subject(s.model, tokenizer())
    s.choices_under(ROWS, [NO_EDIT, edit])
    s.generate(ROWS, edit)
    assert s.provenance["weights_hash"]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_whose_blocks_share_state_is_run_in_full_with_a_warning(caplog):
    """As in families where a block leaves keys and values for a later one."""
    s = subject()
    model = build("llama")
    shared: dict[str, torch.Tensor] = {}

    def leave(_, args, out):
        shared["left"] = 10 * args[0]

    def take(_, args, out):
        return out + shared.pop("left", 0.0)

    model.model.layers[0].register_forward_hook(leave)
    model.model.layers[2].register_forward_hook(take)
    with caplog.at_level(logging.WARNING):
        stateful = Subject(model, tokenizer(), name="stateful")
    assert "stateful: resuming from a block is not bit-exact" in caplog.text
    assert not stateful.decoder.exact
    assert not stateful.provenance["resume_exact"]
    edit = AddVector(Site(2), torch.linspace(-5, 5, 32))
    plain, edited = stateful.choices_under(ROWS, [NO_EDIT, edit])
    for row, score in zip(ROWS, plain, strict=True):
        assert score.log_probs == pytest.approx(plain_scores(stateful, row)[0], abs=1e-4)
        assert score.log_probs != pytest.approx(plain_scores(s, row)[0], abs=1e-2)
    batch = next(stateful.batches([TokenRow(stateful.encode("Which letter?"))]))
    hidden = stateful.decoder.full(batch, edit)[0, -1]
    expected = stateful.decoder.logits(hidden).log_softmax(-1)
    token = stateful.continuation("Which letter?", "A")[0]
    assert edited[0].log_probs[0] == pytest.approx(expected[token].item(), abs=1e-4)


def test_attention_that_does_not_follow_masks_is_given_rows_of_their_own(caplog, monkeypatch):
    monkeypatch.setattr(check, "_packs_well", lambda decoder: False)
    with caplog.at_level(logging.WARNING):
        s = Subject(build("llama"), tokenizer(), name="other")
    assert "other: attention (sdpa) does not follow our masks on this model" in caplog.text
    assert s.decoder.exact and not s.decoder.packs
    packed = subject("llama")
    edit = AddVector(Site(1, "attn_out", "last"), torch.linspace(-5, 5, 32))
    alone, together = (one.choices_under(ROWS, [NO_EDIT, edit]) for one in (s, packed))
    for one, other in zip(sum(alone, []), sum(together, []), strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
    assert s.generate(ROWS, edit) == packed.generate(ROWS, edit)


def test_a_block_that_cannot_be_called_again_is_run_in_full(caplog):
    model = build("llama")
    shared: dict[str, torch.Tensor] = {}
    model.model.layers[0].register_forward_hook(lambda _, a, out: shared.update(left=out))
    model.model.layers[2].register_forward_hook(lambda _, a, out: out + shared.pop("left"))
    s = Subject(model, tokenizer())
    assert "replaying a block failed: KeyError: 'left'" in caplog.text
    assert not s.decoder.exact
    score = s.choices(ROWS[:1])[0]
    assert score.log_probs == pytest.approx(plain_scores(s, ROWS[0])[0], abs=1e-4)


def test_rows_without_choices_cannot_be_scored():
    with pytest.raises(SettingError, match="expected at least one choice to score, got none"):
        subject().choices([ROWS[0], Row("nothing to choose")])


def test_a_choice_without_tokens_is_an_error():
    with pytest.raises(SubjectError, match="expected the choice '' to have at least one token"):
        subject().choices([Row("A", ("",))])


def test_a_text_longer_than_the_context_is_an_error():
    s = subject()
    with pytest.raises(
        SubjectError, match="expected prompts of at most 128 tokens .* got one of 2"
    ):
        s.choices([Row("x" * 200, ("A",))])
    with pytest.raises(SubjectError, match="at most 128 tokens"):
        s.generate([Row("x" * 100)], max_new_tokens=29)
    assert len(s.generate([Row("x" * 100)], max_new_tokens=28)) == 1


def test_another_model_s_tokenizer_is_an_error():
    model = build("llama")
    model.resize_token_embeddings(100)
    message = "expected a tokenizer of at most 100 tokens .* got 267"
    with pytest.raises(SubjectError, match=message):
        Subject(model, tokenizer())


def test_an_unknown_family_is_an_error():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(hidden_size=32, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2)
    config.vocab_size, config.word_embed_proj_dim = 300, 32
    with pytest.raises(SubjectError, match="got OPTForCausalLM.*not known yet. Add an entry"):
        Subject(OPTForCausalLM(config), tokenizer())


def test_a_subclass_is_of_its_parent_s_family():
    from transformers import LlamaForCausalLM

    class Mine(LlamaForCausalLM):
        pass

    model = build("llama")
    model.__class__ = Mine
    assert Subject(model, tokenizer()).decoder.exact


def test_offloaded_weights_are_an_error():
    model = build("llama")
    model.model.layers[1].to("meta")
    with pytest.raises(SubjectError, match="got 9 that are not loaded, such as 'model.layers.1"):
        Subject(model, tokenizer())


def test_provenance_and_sizes():
    s = subject("gpt-neo")
    assert (s.n_layers, s.d_model, s.n_ctx, s.chat) == (4, 32, 128, False)
    assert s.name == "tiny-gpt-neo"
    assert s.provenance["class"] == "GPTNeoForCausalLM"
    assert s.provenance["dtype"] == "float32"
    assert s.provenance["n_parameters"] == sum(p.numel() for p in s.model.parameters())
    assert s.provenance["weights_hash"] == weights_hash(s.model)
    assert s.provenance["resume_exact"] is True


def test_weights_hash_sees_one_bit_and_the_dtype():
    first, second = build("llama"), build("llama")
    assert weights_hash(first) == weights_hash(second)
    assert weights_hash(build("llama", seed=1)) != weights_hash(first)
    weight = second.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight.view(torch.int32)[3, 4] ^= 1
    assert weights_hash(first) != weights_hash(second)
    with torch.no_grad():
        weight.view(torch.int32)[3, 4] ^= 1
    assert weights_hash(first) == weights_hash(second)
    zeros = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.zeros_(zeros.weight)
    assert weights_hash(zeros) != weights_hash(zeros.half())


def test_batches_hold_every_row_once_and_stay_within_the_budget():
    rows = [TokenRow(tuple(range(n)), key=n) for n in (3, 9, 1, 9, 4, 30)]
    batches = list(make_batches(rows, tokens_per_batch=20, pad=0, device=torch.device("cpu")))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(6))
    for batch in batches:
        assert batch.input_ids.numel() <= 20 or len(batch.indices) == 1
        for line, index in enumerate(batch.indices):
            n = len(rows[index])
            assert batch.attention_mask[line].sum() == n
            assert batch.input_ids[line, batch.input_ids.shape[1] - n :].tolist() == list(range(n))
            assert batch.tokens.keys[line] == n
            assert batch.position_ids[line].max() == n - 1


def test_encode_drops_a_closing_end_token_and_never_gives_nothing():
    s = subject()
    assert s.encode("") == (s.tokenizer.bos_token_id,)
    assert s.encode("A<eos>") == s.encode("A")


def test_a_boundary_that_merges_is_tokenized_apart():
    s = subject()
    assert len(s.encode("th")) == 2 and len(s.encode(" the")) == 1
    joined = s.continuation(" t", ",")  # nothing merges
    assert joined == s.encode(",")
    merged = Row("A ", ("A",))  # "A " + "A" is "A", " A": the space changes hands
    assert s.continuation(merged.text, "A") == s.encode("A")
    assert s.choices([merged])[0].n_tokens == (1,)
