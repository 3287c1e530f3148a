"""Real checkpoints: scores and text equal plain transformers. Skipped where they are absent."""

from pathlib import Path

import pytest
import torch

from unmask.edits import NO_EDIT, ResidualNoise, Site
from unmask.models import Row
from unmask.models.loading import load_subject
from unmask.models.rows import join

_MODELS = Path(__file__).parents[2].parent / "shared" / "models"

ROWS = [
    Row("Once upon a time there was a little", ("girl", "boy", "dog named Max"), key=1),
    Row("Lily and Tom went to the park. They saw a big", ("tree", "red ball", "sky"), key=2),
    Row("The", ("cat", "sun"), key=3),
]


@pytest.mark.parametrize("name", ["stories260K", "tinystories-instruct-3m-chat"])
def test_real_checkpoints_equal_plain_transformers(name):
    if not (_MODELS / name).is_dir():
        pytest.skip(f"no checkpoint {name} beside the repository")
    s = load_subject(_MODELS / name, device="cpu")
    assert s.decoder.exact
    for row, score in zip(ROWS, s.choices(ROWS), strict=True):
        prompt = s.encode(row.text)
        for choice, log_prob, n in zip(row.choices, score.log_probs, score.n_tokens, strict=True):
            ids = s.encode(join(row.text, choice))
            assert ids[: len(prompt)] == prompt and len(ids) - len(prompt) == n
            with torch.no_grad():
                log_probs = s.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            steps = range(len(prompt), len(ids))
            expected = sum(log_probs[i - 1, ids[i]].item() for i in steps)
            assert log_prob == pytest.approx(expected, abs=1e-4)
    texts = s.generate(ROWS, max_new_tokens=8, stop=())
    for row, text in zip(ROWS, texts, strict=True):
        ids = torch.tensor([s.encode(row.text)])
        out = s.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8
        )
        expected = s.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == expected.lstrip()
    edits = [NO_EDIT, ResidualNoise(Site(2), 0.3, seed=0)]
    together = s.choices_under(ROWS, edits)
    for number, edit in enumerate(edits):
        for row, score in zip(ROWS, together[number], strict=True):
            alone = s.choices([row], edit)[0]
            assert score.log_probs == pytest.approx(alone.log_probs, abs=1e-4)
    assert abs(together[0][0].log_probs[0] - together[1][0].log_probs[0]) > 1e-3
