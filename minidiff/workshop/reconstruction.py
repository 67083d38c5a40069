"""What the card of an autoencoder says: its costs on test images, and what its decoder makes of latents."""

from typing import Any

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff.digits import digit_distance, load_classifier
from minidiff.latents import decoded, encoded, rate

__all__ = ["autoencoder_result"]


@torch.no_grad()
def autoencoder_result(net: nn.Module, test: Tensor, n: int) -> dict[str, Any]:
    """Rate and error of n test images, and two Frechet distances, with the floor between others.

    No image is compared with its own copy. test: at least 3 n images, (N, 1, 28, 28).
    """
    rows = torch.randperm(len(test), generator=generator(0, 6))
    images, others = test[rows[:n]], test[rows[n:]]
    z = encoded(net, images, generator(0, 7))
    copies = decoded(net, z)
    from_the_prior = decoded(net, torch.randn(z.shape, generator=generator(0, 8)))
    classifier = load_classifier()
    distances = [digit_distance(x, others, classifier) for x in (copies, from_the_prior)]
    return {
        "rate, nats": round(float(torch.cat([rate(*net.encode(part)) for part in images.split(500)]).mean()), 2),
        "mean square error of a pixel": round(float((copies - images).square().mean()), 4),
        "Frechet distance of reconstructions": round(distances[0].value, 3),
        "Frechet distance of samples from N(0, I)": round(distances[1].value, 3),
        "their floor": round(distances[0].floor, 3),
        "samples": n,
    }
