"""A network of the course as one of diffusers, and the other way round. Notebook 27.

diffusers numbers its noise levels: timestep i of 1000 is our time (i + 1) / 1000. Its networks take the number, ours
the log-SNR, and its schedulers know the level by a table of betas. So a model that goes over takes three things along:
the weights, the table, and which target the network predicts.

`DDIMPipeline.from_pretrained(folder)` finds the class below by its module's name, so this package must be installed
where the folder is read.

Sources: documentation of diffusers (ModelMixin, ConfigMixin, DDIMScheduler); Lin et al. 2024, arXiv 2305.08891
(timesteps that begin at the last one, "trailing").
"""

from pathlib import Path

import torch
from diffusers import ConfigMixin, DDIMPipeline, DDIMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from minidiff import generator
from minidiff._tensors import check_whole
from minidiff.networks import build, initialised
from minidiff.paths import GaussianPath
from minidiff.targets import network_input

__all__ = ["FromDiffusers", "MinidiffModel", "betas_of", "save_pipeline", "scheduler_of", "timestep_of"]

KINDS = {"x0": "sample", "eps": "epsilon", "v": "v_prediction"}


def betas_of(path: GaussianPath, steps: int = 1000) -> Tensor:
    """beta_1 to beta_T of a path that preserves variance, at t = k / T: 1 - alpha_k^2 / alpha_(k-1)^2. (T,), float64.

    Raises ValueError for a path on which alpha^2 + sigma^2 is not 1: a table of betas cannot describe it.
    """
    check_whole("steps", steps)
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    signal = path.alpha(t).square()
    if float((signal + path.sigma(t).square() - 1).abs().max()) > 1e-6:
        raise ValueError("path must have alpha^2 + sigma^2 = 1 at all times, since diffusers' schedulers assume it")
    return 1 - signal[1:] / signal[:-1]


def scheduler_of(path: GaussianPath, kind: str, steps: int = 1000) -> DDIMScheduler:
    """diffusers' DDIM along a path of ours: its table, its target, from the last timestep on, to the data.

    Sample in a number of steps that divides `steps`. With others its DDIM does not step exactly to the next timestep
    (huggingface/diffusers#9261).
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, since diffusers knows no other, but is {kind!r}")
    return DDIMScheduler(
        num_train_timesteps=steps,
        trained_betas=betas_of(path, steps).tolist(),
        prediction_type=KINDS[kind],
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


class MinidiffModel(ModelMixin, ConfigMixin):
    """A network of the course in diffusers' clothes: (sample, timestep) -> what the network predicts.

    architecture: as on a checkpoint's card. log_snr: of every timestep, as the network is used to it.
    sample_size and in_channels are what diffusers' pipelines ask for.
    """

    @register_to_config
    def __init__(self, architecture: dict, log_snr: list[float], sample_size: int = 28, in_channels: int = 1):
        super().__init__()
        self.net = initialised(lambda: build(architecture), generator(0))
        self.register_buffer("levels", torch.tensor(log_snr), persistent=False)

    def forward(self, sample: Tensor, timestep: int | Tensor, return_dict: bool = True) -> UNet2DOutput | tuple[Tensor]:
        """sample: (B, C, H, W). timestep: a whole number, or (B,), from 0 (nearly data) to T - 1 (noise)."""
        number = torch.as_tensor(timestep, device=sample.device).long().reshape(-1).expand(len(sample))
        out = self.net(sample, self.levels.to(sample)[number])
        return UNet2DOutput(sample=out) if return_dict else (out,)


def save_pipeline(
    folder: str | Path,
    net: nn.Module,
    architecture: dict,
    path: GaussianPath,
    kind: str,
    *,
    size: int,
    steps: int = 1000,
) -> Path:
    """Write a trained network as a pipeline that `DDIMPipeline.from_pretrained(folder)` loads.

    net: of that architecture, which is what its card says. path, kind: those it was trained with. size: of a picture.
    Returns the folder.
    """
    times = (torch.arange(steps, dtype=torch.float64) + 1) / steps
    probe = torch.zeros(1, 1, dtype=torch.float64)
    levels = [float(network_input(path, probe, t)[1]) for t in times]
    model = MinidiffModel(
        architecture=dict(architecture), log_snr=levels, sample_size=size, in_channels=architecture.get("channels", 1)
    )
    model.net.load_state_dict(net.state_dict())
    DDIMPipeline(model.eval(), scheduler_of(path, kind, steps)).save_pretrained(str(folder))
    return Path(folder)


def timestep_of(log_snr: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The timestep, with a fraction, at which a scheduler has this log-SNR. (B,) -> (B,), float64.

    alphas_cumprod: the scheduler's table, (T,), which falls; entry i is alpha^2 at timestep i. Between two entries the
    log-SNR is taken to be a straight line; beyond the ends, the nearest end is returned.
    """
    table = torch.logit(alphas_cumprod.double()).to(log_snr.device)  # ln(alpha^2 / sigma^2), falls
    rising = table.flip(0)
    wanted = log_snr.double().clamp(rising[0], rising[-1])
    right = torch.searchsorted(rising, wanted).clamp(1, len(rising) - 1)
    share = (wanted - rising[right - 1]) / (rising[right] - rising[right - 1])
    return len(table) - right - share


class FromDiffusers(nn.Module):
    """A network of diffusers in the clothes of ours: (x, log_snr) -> what it predicts. It trains in our loop.

    network: takes (sample, timestep) and returns an object with `.sample`. alphas_cumprod: its scheduler's table, (T,).
    """

    def __init__(self, network: nn.Module, alphas_cumprod: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("alphas_cumprod", alphas_cumprod.double(), persistent=False)

    def forward(self, x: Tensor, log_snr: Tensor, y: None = None) -> Tensor:
        if y is not None:
            raise ValueError("y must be None: this network knows no labels")
        return self.network(x, timestep_of(log_snr, self.alphas_cumprod).to(x)).sample
