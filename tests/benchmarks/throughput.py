"""Images per second in training: minidiff's U-Net beside diffusers' UNet2DModel of about as many parameters.

    python -m tests.benchmarks.throughput --device cuda --batch 1024 --precision bfloat16 --peak 989

Both learn the same loss on the same images with the same AdamW, in turn, in one run. Prints images per second, their
    python -m tests.benchmarks.throughput --device cuda --batch 1024 --precision bfloat16 --peak 989
operations that take minidiff's longest.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from minidiff import generator
from minidiff.digits import digit_network, digit_objective
from minidiff.networks import initialised
from minidiff.training import Batch, train

__all__ = ["Theirs", "main", "operations_per_step", "speeds"]

WARM_UP = 5


class Theirs(nn.Module):
    """diffusers' U-Net as in the Hugging Face course (attention at the coarser level), asked as ours is.

    Its widths make it as large as ours, to 15 %.
    """

    def __init__(self):
        super().__init__()
        down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
        size = {"sample_size": 28, "in_channels": 1, "out_channels": 1}
        shape = {"layers_per_block": 1, "block_out_channels": (48, 64), "norm_num_groups": 16}
        self.net = UNet2DModel(**size, **shape, down_block_types=down, up_block_types=up)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return self.net(x, 25 * (log_snr + 20)).sample  # spread over the range of their time steps


def steps_of(net: nn.Module, x: Tensor, batch: int, dtype: torch.dtype) -> Iterator:
    """An endless training on images that are drawn at random from x."""
    source = generator(1, device=x.device)

    def data() -> Iterator[Batch]:
        while True:
            yield Batch(x[torch.randint(len(x), (batch,), generator=source, device=x.device)])

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    objective = digit_objective()
    return train(net, data(), objective, optimizer, generator=source, dtype=dtype, report_every=WARM_UP)


def speeds(nets: dict[str, nn.Module], x: Tensor, batch: int, steps: int, dtype: torch.dtype) -> dict[str, list[float]]:
    """Images per second of each network, in turn, a stretch of steps at a time."""
    running = {name: steps_of(net, x, batch, dtype) for name, net in nets.items()}
    measured: dict[str, list[float]] = {name: [] for name in nets}
    for training in running.values():
        next(training)
    for _ in range(max(1, steps // WARM_UP)):
        for name, training in running.items():
            begin = time.perf_counter()
            next(training)  # a report waits for the device
            measured[name].append(WARM_UP * batch / (time.perf_counter() - begin))
    return measured


def operations_per_step(net: nn.Module, x: Tensor, batch: int) -> int:
    """Floating-point operations of one step, forward and back, as PyTorch counts them."""
    objective = digit_objective()
    with FlopCounterMode(display=False) as counter:
        objective(net, Batch(x[:batch]), generator(2, device=x.device)).mean().backward()
    return counter.get_total_flops()


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--peak", type=float, help="the device's peak in this precision, TFLOP/s")
    options = parser.parse_args(arguments)
    dtype, device = getattr(torch, options.precision), torch.device(options.device)
    x = torch.rand(max(1024, options.batch), 1, 28, 28, generator=generator(0)).to(device) * 2 - 1
    nets = {"minidiff": digit_network(0), "diffusers": initialised(Theirs, generator(0))}
    nets = {name: net.to(device) for name, net in nets.items()}
    load = f", load before: {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    print(f"{device}, {options.precision}, batch {options.batch}, {torch.get_num_threads()} threads{load}")
    measured = speeds(nets, x, options.batch, options.steps, dtype)
    middles = {name: statistics.median(values) for name, values in measured.items()}
    for name, net in nets.items():
        parameters = sum(value.numel() for value in net.parameters())
        rate = operations_per_step(net, x, options.batch) * middles[name] / options.batch / 1e12
        share = f" ({100 * rate / options.peak:.1f} % of the peak)" if options.peak else ""
        print(f"{name:<10} {parameters:>8} parameters {middles[name]:>9.0f} images/s {rate:>8.3f} TFLOP/s{share}")
    print(f"ratio {middles['minidiff'] / middles['diffusers']:.2f}")
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as seen:
        next(steps_of(nets["minidiff"], x, options.batch, dtype))
    key = f"self_{'cuda' if device.type == 'cuda' else 'cpu'}_time_total"
    print(seen.key_averages().table(sort_by=key, row_limit=5, max_name_column_width=50))


if __name__ == "__main__":
    main()
