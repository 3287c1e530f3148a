"""Places by quimb: standard input has networks, standard output their places, as JSON."""

import json
import sys

import numpy as np
import quimb.tensor as qtn


def place(keys: list[str], edges: list[list[str]]) -> dict[str, list[float]]:
    """Lay one network out with quimb's defaults; ends of open legs are tensors of their own."""
    inds: dict[str, list[str]] = {key: [] for key in keys}
    for number, (a, b) in enumerate(edges):
        if a != b:
            inds[a].append(f"w{number}")
            inds[b].append(f"w{number}")
    tensors = [qtn.Tensor(np.ones((2,) * len(some)), some, [key]) for key, some in inds.items()]
    network = qtn.TensorNetwork(tensors)
    found = network.draw(get="pos")
    by_key = {}
    for key in keys:
        (tid,) = network.tag_map[key]
        by_key[key] = [float(value) for value in found[tid]]
    return by_key


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps([place(one["keys"], one["edges"]) for one in asked]))
