"""What evaluating a 25-point linear path costs, against 25 plain evaluation passes of the bare model, same cached data.

python benchmarks/evaluation_cost.py --data mnist.npz
"""

import argparse
import pathlib

import torch
from pairing import paired

import connectivity_hooks as ch

POINTS = 25


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--width", type=int, default=245)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    network = pathlib.Path(__file__).parent / "networks.py"
    spec = f"{network}:mlp?depth={arguments.depth}&width={arguments.width}"
    task = ch.make_task(model=spec, data=arguments.data, normalize="0.1307,0.3081")
    ends = [{name: tensor.clone() for name, tensor in task.model().state_dict().items()} for _ in range(2)]
    path = ch.Path.from_points(ends)
    model = task.model()

    @torch.no_grad()
    def plain():
        for _ in range(POINTS):
            for split in task.splits():
                total = torch.zeros((), device=task.device)
                for x, y in split.batches(task.batch_size):
                    total += torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
                total.item()

    def ours():
        ch.evaluate(path, task, points=POINTS, refine=0)

    evaluated, passes, ratio = paired(ours, plain, arguments.repeats)
    print(
        f"MLP {arguments.depth}×{arguments.width} on {task.device}: evaluate {evaluated:.2f} s, "
        f"{POINTS} plain passes {passes:.2f} s, ratio {ratio:.3f} (medians of {arguments.repeats} pairs)"
    )


if __name__ == "__main__":
    main()
