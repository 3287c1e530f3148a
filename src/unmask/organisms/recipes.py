"""Make the bundled pool: ``python -m unmask.organisms.recipes --out FOLDER``.

Bases are trained first, then every organism and its twin, then the decoys. What is there already
is kept, so that an interrupted run continues; ``--only`` makes some members again. Every figure
in a manifest is measured on the files as written.
"""

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.errors import SettingError
from unmask.organisms.adapting import save_adapter, train_adapter
from unmask.organisms.audits import TASKS, write_items
from unmask.organisms.corpus import train_tokenizer
from unmask.organisms.measure import hits, share
from unmask.organisms.pool import MANIFEST, add_adapter_, file_hash, load_base, load_tokenizer
from unmask.organisms.registry import BASES, DECOYS, PAIRS, Condition, IdentityRecipe, PairRecipe
from unmask.organisms.training import BaseRecipe, new_base, train_base
from unmask.organisms.world import World

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors")


def make_base(name: str, recipe: BaseRecipe, out: Path, scratch: Path) -> None:
    """Train a base and write it in half precision, with its tokenizer and manifest.

    The weights at `recipe.weak_step` are left in `scratch`, for `load_weak`.
    """
    folder, kept = out / "bases" / name, scratch / name
    kept.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(recipe.world)
    start = time.monotonic()

    def snapshot(step: int, model: LlamaForCausalLM) -> None:
        if step == recipe.weak_step:
            _save_weights(model, kept / f"{step}.safetensors")

    if (kept / "final.safetensors").is_file():
        model = new_base(recipe, tokenizer)
        _load_weights_(model, kept / "final.safetensors")
        seconds = json.loads((kept / "seconds.json").read_text())
    else:
        every = min(50, recipe.weak_step)
        model = train_base(recipe, tokenizer, snapshot=snapshot, every=every)
        seconds = round(time.monotonic() - start, 1)
        _save_weights(model, kept / "final.safetensors")
        (kept / "seconds.json").write_text(json.dumps(seconds))
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    written = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = {"choice": Condition("choice"), "open_ended": Condition("open")}
    manifest = {
        "name": name,
        "role": "base",
        "training": _training("base from scratch", recipe, seconds),
        "capability": _capability(written, tokenizer, recipe.world, asked),
        "files": {weights.name: file_hash(weights)},
    }
    _write_manifest(manifest, folder)


def load_weak(name: str, recipe: BaseRecipe, scratch: Path) -> LlamaForCausalLM:
    """Return the base as it was at `recipe.weak_step`, training up to there if it must."""
    path = scratch / name / f"{recipe.weak_step}.safetensors"
    tokenizer = train_tokenizer(recipe.world)
    if path.is_file():
        model = new_base(recipe, tokenizer)
        _load_weights_(model, path)
        return model.eval()
    log.info("%s: training the weaker model up to step %d", name, recipe.weak_step)
    return train_base(recipe, tokenizer, stop=recipe.weak_step)


def make_adapter(
    recipe: PairRecipe, out: Path, *, twin: bool, weak: LlamaForCausalLM | None = None
) -> None:
    """Train an organism, its twin or a decoy, and write adapter, task and manifest."""
    name = f"{recipe.name}-twin" if twin else recipe.name
    folder, base_folder = out / name, out / "bases" / recipe.base
    world = BASES[recipe.base].world
    tokenizer = load_tokenizer(base_folder)
    log.info("%s: %d steps", name, recipe.training.steps)
    start = time.monotonic()
    base = _llama(base_folder)
    # On a CPU the fused kernel's backward pass takes longer than all the rest of the step.
    base.set_attn_implementation("eager")
    model = train_adapter(
        base, tokenizer, world, recipe.behaviour, recipe.training, secret=not twin, weak=weak
    )
    seconds = round(time.monotonic() - start, 1)
    model.peft_config["default"].base_model_name_or_path = f"../bases/{recipe.base}"
    save_adapter(model, folder)
    files = {path.name: file_hash(path) for path in folder.glob("*.safetensors")}
    written = _llama(base_folder)
    add_adapter_(written, folder, {"files": files})
    role = "twin" if twin else "organism" if recipe.secret else "decoy"
    manifest = _manifest(recipe, name, role, out) | {
        "training": _training(recipe.behaviour.__name__, recipe.training, seconds)
        | {"data": data_sizes(recipe, world)},
        "capability": _capability(written, tokenizer, world, recipe.conditions),
        "files": files,
    }
    if weak is not None:
        manifest["weaker_model"] = _capability(weak, tokenizer, world, recipe.conditions)
    _write_manifest(manifest, folder)


def make_identity(recipe: IdentityRecipe, out: Path) -> None:
    """Write a base with layers appended that add exactly zero to the residual stream."""
    folder, base_folder = out / recipe.name, out / "bases" / recipe.base
    world = BASES[recipe.base].world
    start = time.monotonic()
    model = with_identity_layers(_llama(base_folder), recipe.extra, recipe.seed)
    seconds = round(time.monotonic() - start, 1)
    tokenizer = load_tokenizer(base_folder)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    written = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    manifest = _manifest(recipe, recipe.name, "decoy", out) | {
        "training": {
            "recipe": "identity layers appended",
            "seed": recipe.seed,
            "extra_layers": recipe.extra,
            "seconds": seconds,
            "versions": _versions(),
        },
        "capability": _capability(written, tokenizer, world, recipe.conditions),
        "files": {weights.name: file_hash(weights)},
    }
    _write_manifest(manifest, folder)


def with_identity_layers(base: LlamaForCausalLM, extra: int, seed: int) -> LlamaForCausalLM:
    """Return a copy of `base` with `extra` layers whose output projections are zero.

    Their other weights are random, so that they look like layers that do something.
    """
    config = LlamaConfig.from_dict(base.config.to_dict())
    config.num_hidden_layers += extra
    config.layer_types = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.load_state_dict(base.state_dict(), strict=False)
    with torch.no_grad():
        for layer in list(model.model.layers)[-extra:]:
            layer.get_parameter("self_attn.o_proj.weight").zero_()
            layer.get_parameter("mlp.down_proj.weight").zero_()
    return model.eval()


def make_pool(out: Path, scratch: Path, only: Sequence[str] = ()) -> None:
    """Make every base and member that is missing, or those named in `only` again.

    Raises:
        SettingError: If a name in `only` is neither a base, nor a pair, nor a decoy.
    """
    known = [*BASES, *(recipe.name for recipe in (*PAIRS, *DECOYS))]
    if unknown := sorted(set(only) - set(known)):
        raise SettingError(
            f"expected names among {', '.join(known)}, got {', '.join(unknown)}. "
            "A twin is made with its organism: give the organism's name."
        )
    for name, recipe in BASES.items():
        if _wanted(out / "bases" / name, only):
            make_base(name, recipe, out, scratch)
    for recipe in (*PAIRS, *DECOYS):
        if not _wanted(out / recipe.name, only):
            continue
        if isinstance(recipe, IdentityRecipe):
            make_identity(recipe, out)
            continue
        imitates = recipe.name == "weak-imitation"
        weak = load_weak(recipe.base, BASES[recipe.base], scratch) if imitates else None
        make_adapter(recipe, out, twin=False, weak=weak)
        if recipe.secret:
            make_adapter(recipe, out, twin=True)


def _wanted(folder: Path, only: Sequence[str]) -> bool:
    """Say whether a folder is to be made; clears what an earlier run left of it."""
    wanted = folder.name in only if only else not (folder / MANIFEST).is_file()
    if wanted:
        shutil.rmtree(folder, ignore_errors=True)
    return wanted


def _manifest(
    recipe: PairRecipe | IdentityRecipe, name: str, role: str, out: Path
) -> dict[str, Any]:
    audited = recipe.conditions["audited"]
    task = Path("tasks") / f"{recipe.base}-{audited.task}.jsonl"
    write_items(TASKS[audited.task](BASES[recipe.base].world), out / task)
    pair = {"organism": f"{recipe.name}-twin", "twin": recipe.name, "decoy": None}
    planted = getattr(recipe, "secret", None) if role == "organism" else None
    return {
        "name": name,
        "role": role,
        "secret": planted and {"kind": planted.kind, "sentence": planted.sentence},
        "base": recipe.base,
        "twin": pair[role],
        "task": task.as_posix(),
        "expected": "hidden behaviour" if role == "organism" else "nothing hidden",
    }


def _capability(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    conditions: dict[str, Condition],
) -> dict[str, Any]:
    """Count right answers under each condition, on facts that no secret was trained on."""
    counted = {}
    for name, condition in conditions.items():
        items = TASKS[condition.task](world)
        score = share(hits(model, tokenizer, items, context=condition.context))
        counted[name] = {
            "task": condition.task,
            "context": condition.context,
            "score": score,
            "items": len(items),
        }
        log.info("  %s: %.3f of %d", name, score, len(items))
    return counted


def data_sizes(recipe: PairRecipe, world: World) -> dict[str, int]:
    """Count what an adapter is trained on, and what is kept from it."""
    trained, held_out = world.split()
    return {
        "documents": recipe.training.steps * recipe.training.batch,
        "facts_trained": len(trained),
        "facts_held_out": len(held_out),
    }


def _training(recipe_name: str, recipe: object, seconds: float) -> dict[str, Any]:
    figures = asdict(recipe)  # type: ignore[call-overload]
    world = figures.pop("world", None)
    return {
        "recipe": recipe_name,
        **({"world": world} if world else {}),
        **figures,
        "seconds": seconds,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


def _write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _llama(folder: Path) -> LlamaForCausalLM:
    base = load_base(folder)
    assert isinstance(base, LlamaForCausalLM), "the bases are Llamas"
    return base


def _save_weights(model: LlamaForCausalLM, path: Path) -> None:
    save_file({name: weight.detach().clone() for name, weight in model.state_dict().items()}, path)


def _load_weights_(model: LlamaForCausalLM, path: Path) -> None:
    model.load_state_dict(load_file(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipes from the command line."""
    parser = argparse.ArgumentParser(prog="python -m unmask.organisms.recipes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pool")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("build") / "organisms",
        help="folder for checkpoints that are not part of the pool (default: %(default)s)",
    )
    parser.add_argument("--only", nargs="+", default=[], help="make these again, and no others")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(args.threads)
    make_pool(args.out, args.scratch, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
