"""What a meter stores beside scores."""

import time

from tiny import subject

from unmask.arms.base import Arm
from unmask.edits import AddVector, Site
from unmask.runs.measure import Meter
from unmask.runs.store import RunStore
from unmask.tasks import Item, Task

ITEMS = tuple(Item(f"Is {i} odd?", "odd" if i % 2 else "even", ("odd", "even")) for i in range(4))
TASK = Task("odd", ITEMS, "letter")
PREPARING = 0.2


class Trains(Arm):
    """An arm whose edits take time to make."""

    name = "trains"

    def settings(self, subject):
        return [{"scale": 1}]

    def edits(self, setting, seed):
        time.sleep(PREPARING)
        return AddVector(Site(1), 0.1 * subject().model.get_input_embeddings().weight[3].detach())


def test_the_time_to_make_an_edit_counts(tmp_path):
    with RunStore.open(tmp_path / "run", {}) as store:
        Meter(subject(), TASK, store).damages(Trains(), [{"scale": 1}], 0)
        (unit,) = store.units(arm="trains")
    assert unit.seconds >= PREPARING
