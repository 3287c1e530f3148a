"""KL under edits against a plain loop."""

import pytest
import torch
from tiny import subject

from unmask.edits import NO_EDIT, ResidualNoise, Site, WeightNoise, edited_weights
from unmask.models import Row
from unmask.models.batch import TokenRow
from unmask.models.divergence import kl_under

ROWS = [
    Row("Which", ("letter is it?",), key=1),
    Row("Say the rest:", ("one two three",), key=2),
    Row("A", ("B",), key=3),
]


@pytest.mark.parametrize("family", ["llama", "gemma2", "openai-gpt"])
def test_kl_equals_a_plain_loop(family):
    s = subject(family)
    edits = [NO_EDIT, ResidualNoise(Site(0), 1.0, seed=1), WeightNoise(0.3, seed=1)]
    expected = [0.0] * len(edits)
    count = 0
    for row in ROWS:
        prompt = s.encode(row.text)
        answer = s.continuation(row.text, row.choices[0])
        count += len(answer)
        batch = next(s.batches([TokenRow(prompt, (answer[:-1],), row.key)]))
        n = len(answer)
        before = s.decoder.logits(s.decoder.full(batch, NO_EDIT)[0, -n:]).log_softmax(-1)
        for number, edit in enumerate(edits):
            with edited_weights(s.model, edit.weights):
                after = s.decoder.logits(s.decoder.full(batch, edit)[0, -n:]).log_softmax(-1)
            kl = torch.nn.functional.kl_div(after, before, log_target=True, reduction="sum")
            expected[number] += kl.item()
    found = kl_under(s, ROWS, edits)
    assert found == pytest.approx([value / count for value in expected], abs=1e-5)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[1] > 0.01 and found[2] > 0.001
