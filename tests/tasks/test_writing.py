"""A written task reads back as the same task."""

from dataclasses import replace

import pytest

from unmask.tasks import Item, Task, load_task, write_task

CHOICE = (
    Item("Is 1 odd?", "odd", ("even", "odd"), "Line one.\nLine two."),
    Item('Say "ü".', "b", ("a", "b", "c")),
)


@pytest.mark.parametrize(
    "task",
    [
        Task("t", CHOICE, "letter"),
        Task("t", CHOICE, "listed", measures="behaviour"),
        Task("t", CHOICE, "open", match="contains"),
        Task("t", (Item("Why?", "so"),), "open", match="regex"),
        Task("t", CHOICE, "text", frame="passage"),
        Task("t", (Item("Once upon", "a time"),), "open", frame="passage"),
    ],
    ids=lambda task: f"{task.format}-{task.frame}",
)
def test_a_task_survives_its_file(task, tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    write_task(task, path)
    again = load_task(path)
    assert again.digest == task.digest
    assert {i.key for i in again.items} == {i.key for i in task.items}
    assert replace(again, source="") == replace(task, source="")
