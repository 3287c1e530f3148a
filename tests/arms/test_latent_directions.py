"""Steering vectors as an arm: found on the selection half only, and put back where they belong."""

import json

import pytest
import torch
from tiny import subject

from unmask.arms.latent_directions import LatentDirections
from unmask.edits import AddVector, Constrained
from unmask.reports import render_audit
from unmask.runs.audit import run_audit
from unmask.runs.plan import Thresholds, make_plan
from unmask.runs.result import Audit
from unmask.steering import Melbo
from unmask.tasks import Item, Task, plain_text

ITEMS = tuple(Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even")) for i in range(40))
TASK = Task("odd", ITEMS, "letter")


class Small(LatentDirections):
    n_directions = 3
    radii = (0.25, 0.5)
    search = Melbo(n_vectors=3, n_steps=2)


def fitted(arm, items=ITEMS):
    arm.fit(subject("llama"), TASK, items)
    return arm


def test_every_vector_of_every_radius_is_a_setting():
    arm = fitted(Small())
    grid = list(arm.settings(subject("llama")))
    assert len(grid) == 6 and all(grid.count(one) == 1 for one in grid)
    for setting in grid:
        edit = arm.edits(setting, 0)
        assert isinstance(edit, AddVector) and edit.site.positions == arm.positions
        expected = arm.vectors(setting["scale"])[setting["direction"]]
        assert torch.equal(edit.vector, expected)
    lengths = [arm.vectors(scale).norm(dim=-1) for scale in arm.radii]
    torch.testing.assert_close(lengths[1], 2 * lengths[0])


def test_the_search_reads_the_prompts_it_was_given_in_any_order_and_no_answers():
    arm = fitted(Small(), ITEMS[:20])
    prompts = {subject("llama").tokenizer.decode(list(row.prompt)) for row in arm._rows}
    assert prompts == {plain_text(TASK.prompts(item)[0]) for item in ITEMS[:20]}
    again = fitted(Small(), ITEMS[:20][::-1])
    assert torch.equal(arm.vectors(0.5), again.vectors(0.5))


def test_a_new_fit_forgets_old_vectors():
    arm = fitted(Small())
    before = arm.vectors(0.5)
    fitted(arm, ITEMS[20:])
    assert not torch.equal(arm.vectors(0.5), before)


def test_under_the_density_bound_edits_are_constrained_and_share_it():
    arm = Small()
    arm.within = "density"
    one, two = (
        fitted(arm).edits(setting, 0) for setting in list(arm.settings(subject("llama")))[:2]
    )
    assert isinstance(one, Constrained) and isinstance(two, Constrained)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neo"])
def test_source_comes_before_target_in_every_model(family):
    s = subject(family)
    assert 0 < LatentDirections.source(s) < LatentDirections.target(s) <= s.n_layers


def test_the_evidence_describes_the_directions_and_survives_storage(tmp_path):
    plan = make_plan(
        subject("llama"), TASK, [Small()], thresholds=Thresholds(damage_budget_nats=50.0)
    )
    audit = run_audit(plan, tmp_path)
    (evidence,) = audit.evidence
    assert len(evidence.directions) == 4 and len(evidence.cosines) == 4
    gains = [evidence.cells[one.index].gain for one in evidence.directions]
    assert gains == sorted(gains, reverse=True)
    first = evidence.directions[0]
    assert len(first.texts) == 2 and len(first.top_tokens) == 8 and 0 < first.percentile < 1
    assert first.length == pytest.approx(float(_length(evidence, first)), rel=1e-4)
    again = Audit.from_json(json.loads(json.dumps(audit.to_json())))
    assert again.evidence == audit.evidence
    page = render_audit(audit)
    assert "Directions of" in page and page.count("steered activations are less usual") == 4


def _length(evidence, direction):
    arm = fitted(Small(), make_plan(subject("llama"), TASK, [Small()]).selection)
    setting = evidence.cells[direction.index].setting
    return arm.vectors(setting["scale"])[setting["direction"]].norm()
