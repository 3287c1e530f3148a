"""Write a task as a file that reads back as the same task."""

import json
from pathlib import Path
from typing import Any

from unmask.tasks.task import Task


def write_task(task: Task, path: Path) -> None:
    """Write one item a line, in the plain layout, each with the task's settings."""
    settings = {
        "format": task.format,
        "match": task.match,
        "measures": task.measures,
        "frame": task.frame,
    }
    lines = []
    for item in task.items:
        record: dict[str, Any] = {"question": item.question, "answer": item.answer}
        if item.options:
            record |= {"options": list(item.options), "answer": item.options.index(item.answer)}
        if item.context:
            record["context"] = item.context
        lines.append(json.dumps(record | settings, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
