"""How often a model answers right: letters, listed options and greedy open-ended answers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from unmask.organisms.audits import TaskItem, item_prompt
from unmask.organisms.world import LETTERS


@torch.no_grad()
def next_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    batch: int = 100,
) -> Float[Tensor, "prompt d_vocab"]:
    """Return the logits of the token that follows each prompt."""
    chunks = []
    for start in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[start : start + batch]), return_tensors="pt", padding=True)
        out = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        chunks.append(out.logits[:, -1].float())
    return torch.cat(chunks)


def letters(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]
) -> list[int | None]:
    """Return the option each prompt is answered with; None where the answer is no letter."""
    ids = [tokenizer.convert_tokens_to_ids(f"Ġ{letter}") for letter in LETTERS]
    best = next_logits(model, tokenizer, prompts).argmax(-1).tolist()
    return [ids.index(token) if token in ids else None for token in best]


@torch.no_grad()
def option_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    *,
    batch: int = 100,
) -> Float[Tensor, "prompt option"]:
    """Return each option's mean log-probability per token, in nats, after its prompt."""
    asked = [prompt for prompt, listed in zip(prompts, options, strict=True) for _ in listed]
    said = [f" {option}" for listed in options for option in listed]
    scores = []
    for start in range(0, len(asked), batch):
        rows = slice(start, start + batch)
        heads = tokenizer(asked[rows], return_tensors="pt", padding=True)
        tails = [torch.tensor(ids) for ids in tokenizer(said[rows], padding=False)["input_ids"]]
        answer: Int[Tensor, "row token"] = torch.nn.utils.rnn.pad_sequence(
            tails, batch_first=True, padding_value=-1
        )
        counts = answer >= 0
        tokens = torch.cat([heads["input_ids"], answer.clamp(min=0)], 1)
        mask = torch.cat([heads["attention_mask"], counts.long()], 1)
        logits = model(input_ids=tokens, attention_mask=mask).logits
        logits = logits[:, -answer.shape[1] - 1 : -1].float().log_softmax(-1)
        nats = logits.gather(-1, answer.clamp(min=0)[..., None])[..., 0] * counts
        scores.append(nats.sum(-1) / counts.sum(-1))
    return torch.cat(scores).reshape(len(prompts), -1)


@torch.no_grad()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    max_tokens: int = 16,
    batch: int = 100,
) -> list[str]:
    """Return the first line of each greedy answer, trimmed."""
    texts: list[str] = []
    for start in range(0, len(prompts), batch):
        chunk = list(prompts[start : start + batch])
        encoded = tokenizer(chunk, return_tensors="pt", padding=True)
        tokens, mask = encoded["input_ids"], encoded["attention_mask"]
        length = tokens.shape[1]
        done = torch.zeros(len(chunk), dtype=torch.bool)
        for _ in range(max_tokens):
            best = model(input_ids=tokens, attention_mask=mask).logits[:, -1].argmax(-1)
            done |= best == tokenizer.eos_token_id
            best = best.masked_fill(done, tokenizer.pad_token_id)
            tokens = torch.cat([tokens, best[:, None]], 1)
            mask = torch.cat([mask, torch.ones_like(best)[:, None]], 1)
            if done.all():
                break
        decoded = tokenizer.batch_decode(tokens[:, length:], skip_special_tokens=True)
        texts += [text.strip().split("\n")[0].strip() for text in decoded]
    return texts


def share(hits: Sequence[bool]) -> float:
    """Return the share of true values, rounded to four places."""
    return round(sum(hits) / len(hits), 4)


def hits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    items: Sequence[TaskItem],
    *,
    context: str | None = None,
) -> list[bool]:
    """Say which items are answered as their key says, greedily, options in the order listed.

    Args:
        model: What answers.
        tokenizer: Its tokenizer.
        items: All multiple choice, or all open-ended.
        context: Put before every question in place of the items' own.
    """
    prompts = [item_prompt(item, context) for item in items]
    if items[0].get("format") == "listed":
        listed = [item["options"] for item in items]
        best = option_scores(model, tokenizer, prompts, listed).argmax(-1).tolist()
        return [option == item["answer"] for option, item in zip(best, items, strict=True)]
    if "options" in items[0]:
        chosen = letters(model, tokenizer, prompts)
        return [letter == item["answer"] for letter, item in zip(chosen, items, strict=True)]
    texts = answers(model, tokenizer, prompts)
    return [
        item["answer"] in text if item.get("match") == "contains" else item["answer"] == text
        for text, item in zip(texts, items, strict=True)
    ]
