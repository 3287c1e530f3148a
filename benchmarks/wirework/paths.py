"""Ranking the paths of a model as large as GPT-2, of random weights."""

import resource
import time
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from unmask.models.diagrams import path_expansion
from unmask.models.subject import Subject

CONFIG = {"n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "n_positions": 128}


def run() -> dict[str, Any]:
    """Time one ranking of all paths through at most two heads, and note the memory it took."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**CONFIG, bos_token_id=0, eos_token_id=0)).eval()
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    subject = Subject(model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = path_expansion(subject, top=20)
    seconds = time.perf_counter() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "model": "12 layers x 12 heads, d_model 768, vocab 50257",
        "terms": found.n_terms,
        "seconds": seconds,
        "mib": grown / 1024,
        "dense_mib": 4 * CONFIG["vocab_size"] ** 2 / 2**20,
        "strongest": [[list(term.heads), term.norm, term.share] for term in found.terms],
    }
