"""Texts that a model might write to break, to hide in or to run in a report."""

from dataclasses import replace

from fixtures import found

from unmask.arms.evidence import Cell, Evidence, ItemResult, Transcript
from unmask.runs.result import Audit

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "quote": "' onmouseover='alert(1)",
    "template": "{{7*7}}{% raw %}",
    "cdata": "]]></svg><script>1</script>",
    "textarea": "</textarea></title></style></details></pre>",
    "comment": "<!-- --!> -->",
    "url": "javascript:alert(1)//http://evil.example/x",
    "reordering": "safe \u202eevil\u202c \u2066a\u2069 \u200f\u061c",
    "zero width": "pass\u200bword\ufeff\u00ad",
    "control": "nul \x00 bell \x07 escape \x1b[2J",
    "surrogate": "lone \ud800 end",
    "long": "a" * 10_000,
    "combining": "Z" + "\u0300" * 400,
}


def hostile_audit(text: str) -> Audit:
    """Put a text into every place that a model, a task or a user can write to."""
    audit = found()
    return replace(
        audit,
        sentence=text,
        evidence=tuple(_hostile_evidence(one, text) for one in audit.evidence),
        subject={"id": text, text: text},
        task={"name": text, "digest": text},
        reference={"id": text, "weights_hash": text},
        plan={**audit.plan, text: [text]},
        plan_hash=text,
        versions={text: text},
        command=text,
        run=text,
        left_out=(text,),
        warnings=(text,),
        power=replace(audit.power, source=text, by_secret={text: (1, 2)}),
        false_positive_rate=replace(audit.false_positive_rate, source=text),
    )


def _hostile_evidence(one: Evidence, text: str) -> Evidence:
    cells = tuple(Cell({**cell.setting, text: text}, 0.1, 0.9, False) for cell in one.cells)
    odd = Cell({"layer": text, "scale": text}, 0.1, 0.1, True)
    return replace(
        one,
        arm=f"{one.arm} {text}",
        description=text,
        reason=text,
        setting={text: text},
        cells=(*cells, odd) if one.arm == "activation_noise" else cells,
        items=tuple(ItemResult(text, text, 0.0, 1.0) for _ in one.items[:3]),
        transcripts=tuple(
            Transcript(text, text, text, text, text + "!", text, 0.0, 1.0)
            for _ in one.transcripts[:2]
        ),
    )
