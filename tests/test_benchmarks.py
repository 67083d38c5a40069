"""The benchmarks run, count what they claim to count, and compare like with like."""

import torch

from minidiff import generator
from minidiff.networks import initialised
from minidiff.recipes import digit_network
from tests.benchmarks import throughput


def test_the_two_networks_are_of_one_size():
    ours, theirs = (
        sum(value.numel() for value in net.parameters())
        for net in (digit_network(0), initialised(throughput.Theirs, generator(0)))
    )
    assert 0.85 < theirs / ours < 1.15


def test_operations_are_counted_as_by_hand():
    """A linear layer of n inputs and m outputs on a batch of B: 2 B n m forward, the same again for the weights."""

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(784, 784)

        def forward(self, x, log_snr):
            return self.layer(x.flatten(1)).reshape(x.shape)

    x = torch.zeros(8, 1, 28, 28)
    assert throughput.operations_per_step(initialised(Flat, generator(0)), x, 4) == 2 * (2 * 4 * 784 * 784)


def test_the_throughput_benchmark_prints_both_their_ratio_and_a_profile(capsys):
    throughput.main(["--batch", "2", "--steps", "5", "--peak", "1"])
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    ours, theirs = (float(lines[name].split()[3]) for name in ("minidiff", "diffusers"))
    assert abs(float(lines["ratio"].split()[1]) - ours / theirs) < 0.1 * ours / theirs
    assert "% of the peak" in lines["minidiff"] and "Self CPU" in printed
