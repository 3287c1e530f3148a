"""Training a subject: nothing is left behind, a change is what was learnt, a kill loses little."""

import random

import pytest
import torch
import torch.nn.functional as F
from tiny import FAMILIES, build, subject

from unmask.edits import WeightDelta, edited_weights
from unmask.errors import RunError
from unmask.models.weights_hash import weights_hash
from unmask.tasks import Item, Prompt, Task, row
from unmask.tuning import Lesson, Recipe, train, tuned
from unmask.tuning.lessons import lay_out, other_answer, right_answer
from unmask.tuning.loss import SAID, compared, loss, outputs

ITEMS = tuple(Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even")) for i in range(8))
OPEN, LISTED = Task("open", ITEMS, "open"), Task("listed", ITEMS, "listed")
RECIPE = Recipe(steps=3, batch=2, rank=2, warm_up=1)


def teach(rng):
    return right_answer(rng.choice(OPEN.prompts(rng.choice(ITEMS))), rng)


def logits(one, text="The answer is"):
    ids = torch.tensor([one.encode(text)])
    with torch.no_grad():
        return one.model(input_ids=ids).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_leaves_the_subject_and_gives_its_change(family):
    one = subject(family)
    before, config = weights_hash(one.model), one.model.config._attn_implementation
    names = [name for name, _ in one.model.named_modules()]
    unedited = logits(one)
    done = train(one, teach, RECIPE)
    assert weights_hash(one.model) == before
    assert [name for name, _ in one.model.named_modules()] == names
    assert one.model.config._attn_implementation == config
    assert not any(p.grad is not None for p in one.model.parameters())
    with edited_weights(one.model, [done.delta]):
        changed = logits(one)
    assert (changed - unedited).abs().max() > 1e-4
    torch.testing.assert_close(logits(one), unedited, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_change_is_what_was_trained(family, method):
    """GPT-2 keeps its weights transposed, so its factors are turned."""
    one = subject(family)
    ids = torch.tensor([one.encode("The answer is")])
    with tuned(one, method, rank=2) as model:
        optimizer = torch.optim.SGD([p for _, p in model.trained], lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            model.model(input_ids=ids).logits[0, -1, 5].neg().backward()
            optimizer.step()
        with torch.no_grad():
            trained = model.model(input_ids=ids).logits
            with model.before():
                untrained = model.model(input_ids=ids).logits
        delta = model.delta()
    torch.testing.assert_close(untrained, logits(one))
    assert (trained - untrained).abs().max() > 1e-2
    with edited_weights(one.model, [delta]):
        torch.testing.assert_close(logits(one), trained, rtol=1e-4, atol=1e-4)
    with edited_weights(one.model, [delta.scaled(0.0)]):
        torch.testing.assert_close(logits(one), untrained, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, method):
    one = subject("llama")
    recipe = Recipe(steps=6, batch=2, rank=2, warm_up=1, method=method)
    whole = train(one, teach, recipe)

    def die(step, _):
        if step == 5:
            raise KeyboardInterrupt

    file = tmp_path / "at.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(one, teach, recipe, checkpoint=file, every=2, on_step=die)
    seen = []
    resumed = train(
        one, teach, recipe, checkpoint=file, every=2, on_step=lambda s, _: seen.append(s)
    )
    assert seen == [5, 6]
    for name, factors in whole.delta.factors.items():
        for one_factor, other in zip(factors, resumed.delta.factors[name], strict=True):
            assert torch.equal(one_factor, other)
    assert resumed.loss == whole.loss
    # A finished training is not run again.
    again = train(one, teach, recipe, checkpoint=file, on_step=lambda *_: pytest.fail("trained"))
    assert again.loss == whole.loss


def test_checkpoints_of_other_trainings_and_damaged_ones_are_refused(tmp_path):
    one, file = subject("llama"), tmp_path / "at.safetensors"
    train(one, teach, RECIPE, checkpoint=file, every=1)
    with pytest.raises(RunError, match="It is of another training"):
        train(subject("gpt2"), teach, RECIPE, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="The file is damaged"):
        train(one, teach, RECIPE, checkpoint=file)


def test_training_lowers_the_loss_and_changes_the_answer():
    one = subject("llama")
    prompt = OPEN.prompts(ITEMS[0])[0]
    wanted = "odd"
    asked = row(prompt, one.tokenizer, one.chat)
    assert one.generate([asked], max_new_tokens=4) != [wanted]
    losses = []
    lesson = Lesson(prompt, wanted)
    recipe = Recipe(steps=100, batch=2, lr=1e-2, warm_up=1)
    done = train(one, lambda rng: lesson, recipe, on_step=lambda _, value: losses.append(value))
    assert losses[-1] < 0.1 * losses[0]
    assert [text.strip() for text in one.generate([asked], done.delta, max_new_tokens=4)] == [
        wanted
    ]


def test_the_loss_of_each_kind_is_what_it_says():
    """Against passes of single rows, without padding."""
    one = subject("llama")
    prompts = [OPEN.prompts(item)[0] for item in ITEMS[:2]] + [LISTED.prompts(ITEMS[2])[0]]

    def nats(prompt, answer):
        asked = row(prompt, one.tokenizer, one.chat)
        ids, said = one.encode(asked.text), one.continuation(asked.text, answer)
        if not prompt.choices:
            said = (*said, one.tokenizer.eos_token_id)
        with torch.no_grad():
            out = one.model(input_ids=torch.tensor([(*ids, *said)])).logits[0, len(ids) - 1 : -1]
        return F.cross_entropy(out, torch.tensor(said), reduction="none")

    lessons = [
        Lesson(prompts[0], "odd"),
        Lesson(prompts[1], "even and more"),
        Lesson(prompts[2], "odd", "choose", "even"),
    ]
    say = [nats(prompts[0], "odd").mean(), nats(prompts[1], "even and more").mean()]
    wanted, against = nats(prompts[2], "odd"), nats(prompts[2], "even")
    assert len(wanted) > 1  # so that sum and mean differ
    choose = F.softplus(wanted.sum() - against.sum()) + SAID * wanted.mean()
    with torch.no_grad():
        got = loss(one.model, lay_out(one, lessons))
    assert got.item() == pytest.approx(float(sum(say) + choose) / 3, rel=1e-4)


def test_imitation_is_the_divergence_from_the_weaker_model():
    one, weak = subject("llama"), build("llama", seed=1)
    lesson = Lesson(OPEN.prompts(ITEMS[0])[0], "odd", "imitate")
    batch = lay_out(one, [lesson])
    with torch.no_grad():
        # Of one row, so that there is no padding.
        n = batch.longest + 1
        mine, theirs = (
            m(input_ids=batch.tokens).logits[0, -n:-1].log_softmax(-1) for m in (one.model, weak)
        )
        expected = (theirs.exp() * (theirs - mine)).sum(-1).mean()
        got = loss(one.model, batch, weak=weak)
        same = loss(one.model, batch, weak=one.model)
    assert got.item() == pytest.approx(expected.item(), rel=1e-4) and expected > 0.1
    assert same.item() == pytest.approx(0, abs=1e-5)


def test_breaking_turns_activations_away_and_keeping_keeps_them():
    one = subject("llama")
    prompt = OPEN.prompts(ITEMS[0])[0]
    with tuned(one, "lora", rank=2) as model, torch.no_grad():
        for kind, expected in (("break", 1.0), ("keep", 0.0)):
            batch = lay_out(one, [Lesson(prompt, "odd", kind)])
            # Untrained, activations are what they were: cosine 1, distance 0.
            blocks = compared(one.decoder.blocks)
            was = outputs(model.model, batch, blocks)
            value = loss(model.model, batch, blocks=blocks, was=was)
            assert value.item() == pytest.approx(5 * expected, abs=1e-4)


@pytest.mark.parametrize(("method", "lr"), [("lora", 1e-2), ("full", 1e-3)])
def test_activations_are_broken_by_any_method(method, lr):
    one = subject("llama")
    prompt = OPEN.prompts(ITEMS[0])[0]
    recipe = Recipe(steps=30, batch=1, lr=lr, warm_up=1, method=method)
    before = _hooks(one.model)  # the subject is shared with other tests, which may have left some
    breaking = train(one, lambda rng: Lesson(prompt, "odd", "break"), recipe)
    assert breaking.loss < 2.5  # 5 before anything is trained
    assert train(one, lambda rng: Lesson(prompt, "odd", "keep"), recipe).loss < 0.1
    assert _hooks(one.model) == before


def _hooks(model):
    return [len(module._forward_hooks) for module in model.modules()]


def test_lessons_say_right_and_other_answers():
    rng = random.Random(0)
    listed = LISTED.prompts(ITEMS[1])[0]
    right = right_answer(listed, rng)
    assert (right.answer, right.kind, right.against) == ("odd", "choose", "even")
    other = other_answer(right, rng, [])
    assert (other.answer, other.against) == ("even", "odd")
    letter = Task("letter", ITEMS, "letter").prompts(ITEMS[1])[0]
    assert right_answer(letter, rng).kind == "say"
    bare = Prompt(Item("What?", "this"))
    drawn = {other_answer(right_answer(bare, rng), rng, ["this", "that"]).answer for _ in range(9)}
    assert drawn == {"that"}
    drawn = {
        other_answer(right_answer(bare, rng), rng, ["this", "that"], may_be_right=True).answer
        for _ in range(20)
    }
    assert drawn == {"this", "that"}


def test_prompts_that_do_not_fit_are_cut_from_the_front():
    one = subject("llama")
    long = Prompt(Item("x " * 200 + "end", "yes"))
    batch = lay_out(one, [Lesson(long, "yes")])
    assert batch.tokens.shape[1] == one.n_ctx
    ids = one.encode(row(long, one.tokenizer, one.chat).text)
    said = int(batch.answer.sum())
    assert batch.tokens[0, -said - 5 : -said].tolist() == list(ids[-5:])


def test_a_weight_change_leaves_other_weights():
    one = subject("llama")
    name = "model.layers.0.mlp.up_proj.weight"
    weight = dict(one.model.named_parameters())[name]
    up, down = torch.randn(weight.shape[0], 2), torch.randn(2, weight.shape[1])
    delta = WeightDelta({name: (up, down)}, 0.5)
    assert delta.changes(name) and not delta.changes("lm_head.weight")
    torch.testing.assert_close(delta.perturb(name, weight), weight + 0.5 * up @ down)
