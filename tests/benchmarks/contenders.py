"""Who takes part in `make bench`: minidiff, and three public libraries as their authors train them on such digits.

All see the same images in [-1, 1] with the same labels, make one step at a time on the same threads, and draw by their
own library's samplers, with labels as often as the training set has them. What each got stands in its `settings`, which
the report repeats:

- diffusers: network, labels, learning rate and noise of the Hugging Face course, unit 2, which trains on MNIST; with
  the moving average of the library's own training script, which the course leaves out.
- denoising-diffusion-pytorch (lucidrains): its network with labels (`classifier_free_guidance`), its default target
  and moving average, taken at each step since there are so few, with three levels in place of four, since 28 can be
  halved only twice; stored channels last, in which it alone is quicker.
- smalldiffusion: its example for Fashion-MNIST, whose images have the same size, with its own label embedding.

diffusers and smalldiffusion say eps there, in batches of 128 and 1,024. Here they say v, which both libraries offer, in
batches of 32, for more steps: with eps and 128, backgrounds stayed grey or speckled after twenty minutes. Each peer got
few trials; minidiff's recipe was chosen over many, by the same distance.

The peers draw from PyTorch's global random state, so whoever runs them puts that aside first (`torch.random.fork_rng`).
"""

import copy
import importlib.util
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff.data import Images
from minidiff.denoisers import from_network
from minidiff.digits import KIND, PATH, digit_network, digit_training
from minidiff.samplers import ancestral, dpmpp_2m, last
from minidiff.training import EMA, batches
from minidiff.workshop.subjects import SUBJECTS

__all__ = ["PEERS", "Contender", "Running", "contenders", "minidiff_digits"]

SHAPE, CLASSES, ENDLESS = (1, 28, 28), 10, 10**9
Draw = Callable[[nn.Module, Tensor, int], Tensor]


class Running(NamedTuple):
    """A training that has begun: each `next(steps)` makes one step; `drawer()` is the network to draw with, so far."""

    steps: Iterator
    drawer: Callable[[], nn.Module]


class Contender(NamedTuple):
    """One library with its settings.

    batch_size: images of a step. blank(): the network of `Running.drawer`, to load weights into.
    start(images, dtype, steps, seed): begin a training of as many steps, or of any number if steps is None.
    falls: whether its learning rate falls to 0 at the last step, so that each budget is a training of its own.
    samplers: by name; each draws an image for each label, (n, 1, 28, 28), in [-1, 1], from (network, y: (n,), seed).
    """

    settings: str
    batch_size: int
    falls: bool
    blank: Callable[[], nn.Module]
    start: Callable[[Images, torch.dtype, int | None, int], Running]
    samplers: Mapping[str, Draw]


def in_precision(dtype: torch.dtype) -> torch.autocast:
    """Mixed precision as each library's own training script has it: PyTorch's autocast."""
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)


# minidiff

LIVE = SUBJECTS["mnist"].recipe
SAID = {name: getattr(LIVE, name) for name in ("batch_size", "learning_rate", "decay", "label_dropout")}


def minidiff_digits() -> Contender:
    """What `minidiff train mnist` does."""

    def start(images: Images, dtype: torch.dtype, steps: int | None, seed: int) -> Running:
        wanted = {**SAID, "falls": LIVE.falls, "steps": steps or 10**9, "seed": seed}
        ema, running = digit_training(digit_network(seed, CLASSES), images.x, images.y, **wanted, dtype=dtype)
        return Running(running, lambda: ema.net)

    def draw(sampler: Callable, steps: int) -> Draw:
        def drawn(net: nn.Module, y: Tensor, seed: int) -> Tensor:
            source = generator(seed, 3)
            denoise, x = from_network(net, PATH, KIND, y), PATH.prior((len(y), *SHAPE), source)
            return last(sampler(denoise, x, torch.linspace(1, 0, steps + 1), source))

        return drawn

    def ddpm(denoise, x: Tensor, times: Tensor, source: torch.Generator) -> Iterator:
        return ancestral(denoise, PATH, x, times, generator=source)

    def two_m(denoise, x: Tensor, times: Tensor, source: torch.Generator) -> Iterator:
        return dpmpp_2m(denoise, PATH, x, times)

    samplers = {f"DDPM, {steps} steps": draw(ddpm, steps) for steps in (25, 15, 50)}
    return Contender(
        settings="`minidiff train mnist`: a U-Net of 1.0 M weights says x0; judged by v, Muon, constant rate, EMA, "
        + ", ".join(f"{name} {number}" for name, number in SAID.items()),
        batch_size=LIVE.batch_size,
        falls=False,
        blank=lambda: digit_network(0, CLASSES),
        start=start,
        samplers=samplers | {"2M, 15 steps": draw(two_m, 15)},
    )


# The peers


def importable_torchvision() -> None:
    """The peers import torchvision, whose usual build looks for CUDA and breaks beside a PyTorch without it.

    What it misses are two compiled operators that nobody here uses: declared by name, they let the import pass.
    """
    if importlib.util.find_spec("torchvision") is None:
        return  # diffusers does without
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        KEPT.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            KEPT[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


KEPT: list[torch.library.Library] = []  # a declaration lasts as long as its library


def diffusers_course() -> Contender:
    """diffusers, as in the Hugging Face course."""
    importable_torchvision()
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    # v, since a young network that says eps does not know how bright an image is: its backgrounds stay grey.
    noise = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    spaced = {"timestep_spacing": "trailing"}  # from the noisiest level on (Lin et al. 2024)
    noisy, clipped = {"algorithm_type": "sde-dpmsolver++"}, {"thresholding": True, "sample_max_value": 1.0}

    class Labelled(nn.Module):
        """The label as four more channels of the image, which is how the course does it."""

        def __init__(self):
            super().__init__()
            self.label = nn.Embedding(CLASSES, 4)
            self.net = UNet2DModel(
                sample_size=28,
                in_channels=5,
                out_channels=1,
                layers_per_block=2,
                block_out_channels=(32, 64, 64),
                down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            )

        def forward(self, x: Tensor, k: Tensor, y: Tensor) -> Tensor:
            label = self.label(y)[:, :, None, None].expand(-1, -1, *x.shape[-2:])
            return self.net(torch.cat([x, label], dim=1), k).sample

    def start(images: Images, dtype: torch.dtype, steps: int | None, seed: int) -> Running:
        net = Labelled()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        copied = copy.deepcopy(net)

        def step(x: Tensor, y: Tensor) -> None:
            eps = torch.randn_like(x)
            k = torch.randint(0, 1000, (len(x),))
            with in_precision(dtype):
                v = noise.get_velocity(x, eps, k)
                loss = nn.functional.mse_loss(net(noise.add_noise(x, eps, k), k, y), v)
            update(optimizer, loss)
            average.step(net.parameters())

        def drawer() -> nn.Module:
            average.copy_to(copied.parameters())
            return copied

        return Running(over_batches(images, 32, seed, step), drawer)

    def draw(kind: type, steps: int, **options) -> Draw:
        scheduler = kind.from_config(noise.config, **spaced, **options)

        def drawn(net: nn.Module, y: Tensor, seed: int) -> Tensor:
            scheduler.set_timesteps(steps)
            x = torch.randn(len(y), *SHAPE)
            for k in scheduler.timesteps:
                x = scheduler.step(net(x, k, y).float(), k, x).prev_sample
            return x

        return drawn

    return Contender(
        settings="UNet2DModel (32, 64, 64), 2 layers, attention at two levels, labels as channels, squared cosine, "
        "Adam 1e-3, as in the Hugging Face course, but v in place of eps (whose backgrounds stay grey) and batches of "
        "32 in place of 128 (for more steps); EMAModel as in the library's training script",
        batch_size=32,
        falls=False,
        blank=Labelled,
        start=start,
        samplers={
            "DDPM, 50 steps": draw(DDPMScheduler, 50),
            "DDIM, unclipped, 50 steps": draw(DDIMScheduler, 50, clip_sample=False),
            "DDPM, 25 steps": draw(DDPMScheduler, 25),
            "DPM-Solver++(2M), 25 steps": draw(DPMSolverMultistepScheduler, 25),
            "SDE-DPM-Solver++(2M), 25 steps": draw(DPMSolverMultistepScheduler, 25, **noisy),
            "SDE-DPM-Solver++(2M), clipped, 25 steps": draw(DPMSolverMultistepScheduler, 25, **noisy, **clipped),
        },
    )


def lucidrains() -> Contender:
    """denoising-diffusion-pytorch."""
    importable_torchvision()
    from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet
    from ema_pytorch import EMA as TheirEMA

    class Answering(Unet):
        """Where no guidance is asked for its network gives one answer, but its sampler waits for two (version 2.3)."""

        def forward_with_cond_scale(self, *arguments, **options):
            answer = super().forward_with_cond_scale(*arguments, **options)
            return answer if isinstance(answer, tuple) else (answer, answer)

    def blank() -> nn.Module:
        net = Answering(dim=32, num_classes=CLASSES, cond_drop_prob=0.1, dim_mults=(1, 2, 4), channels=1)
        net.to(memory_format=torch.channels_last)
        return GaussianDiffusion(net, image_size=28, timesteps=1000, objective="pred_v")

    def start(images: Images, dtype: torch.dtype, steps: int | None, seed: int) -> Running:
        diffusion = blank()
        optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-3, betas=(0.9, 0.99))
        average = TheirEMA(diffusion, beta=0.995, update_every=1)

        def step(x: Tensor, y: Tensor) -> None:
            with in_precision(dtype):
                loss = diffusion((x + 1) / 2, classes=y)
            update(optimizer, loss, diffusion)
            average.update()

        return Running(over_batches(images, 32, seed, step), lambda: average.ema_model)

    def draw(steps: int, eta: float) -> Draw:
        def drawn(diffusion: nn.Module, y: Tensor, seed: int) -> Tensor:
            diffusion.sampling_timesteps, diffusion.ddim_sampling_eta = steps, eta
            return 2 * diffusion.ddim_sample(y, (len(y), *SHAPE), cond_scale=1.0, rescaled_phi=0.0) - 1

        return drawn

    return Contender(
        settings="Unet(dim=32, dim_mults=(1, 2, 4), 10 classes), pred_v, cosine schedule, EMA 0.995 each step (its "
        "default, each tenth step, averages over half of so short a training), batch 32, Adam 1e-3 (its default of "
        "1e-4 learns slower here), channels last",
        batch_size=32,
        falls=False,
        blank=blank,
        start=start,
        samplers={
            "DDIM, 50 steps": draw(50, 0.0),
            "DDIM eta 1, 50 steps": draw(50, 1.0),
            "DDIM, 25 steps": draw(25, 0.0),
            "DDIM eta 1, 25 steps": draw(25, 1.0),
        },
    )


def smalldiffusion() -> Contender:
    """smalldiffusion, as in its example for Fashion-MNIST."""
    importable_torchvision()
    from smalldiffusion import CondEmbedderLabel, PredV, Scaled, ScheduleLogLinear, Unet, generate_train_sample, samples

    schedule = ScheduleLogLinear(N=800, sigma_min=0.01, sigma_max=20)

    def blank() -> nn.Module:
        label = CondEmbedderLabel(4 * 64, CLASSES, 0.1)
        return Scaled(PredV(Unet))(28, 1, 1, ch=64, ch_mult=(1, 1, 2), attn_resolutions=(14,), cond_embed=label)

    def start(images: Images, dtype: torch.dtype, steps: int | None, seed: int) -> Running:
        net = blank()
        optimizer = torch.optim.AdamW(net.parameters(), lr=7e-4)
        average = EMA(net, decay=0.999)

        def step(x: Tensor, y: Tensor) -> None:
            net.train()
            x0, sigma, eps, labels = generate_train_sample((x, y), schedule, conditional=True)
            with in_precision(dtype):
                loss = net.get_loss(x0, sigma, eps, cond=labels)
            update(optimizer, loss)
            average.update(net)

        return Running(over_batches(images, 32, seed, step), lambda: average.net)

    def draw(steps: int, gam: float, mu: float) -> Draw:
        def drawn(net: nn.Module, y: Tensor, seed: int) -> Tensor:
            sigmas = torch.cat([schedule.sample_sigmas(steps), torch.zeros(1)])  # to the end, as the others do
            start = net.rand_input(len(y)) * sigmas[0]
            return last_of(samples(net, sigmas, gam=gam, mu=mu, xt=start, cond=y))

        return drawn

    return Contender(
        settings="Scaled(PredV(Unet))(ch=64, ch_mult=(1, 1, 2), attention at 14, labels), log-linear sigmas 0.01 to "
        "20, AdamW 7e-4, EMA 0.999, as in its example, but v in place of eps (whose backgrounds stay grey) and batches "
        "of 32 in place of 1024 (for more steps)",
        batch_size=32,
        falls=False,
        blank=blank,
        start=start,
        samplers={
            "its own, 21 steps, gam 1.6": draw(20, 1.6, 0.0),
            "DDPM, 51 steps": draw(50, 1.0, 0.5),
            "DDPM, 26 steps": draw(25, 1.0, 0.5),
        },
    )


def last_of(states: Iterator[Tensor]) -> Tensor:
    """The last of a walk's states, the only one kept."""
    return deque(states, maxlen=1)[0]


def over_batches(images: Images, batch_size: int, seed: int, step: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Make a step for each batch, in minidiff's own shuffled order."""
    for batch in batches(images.x, images.y, batch_size=batch_size, steps=ENDLESS, seed=seed):
        step(batch.x0, batch.y)
        yield


def update(optimizer: torch.optim.Optimizer, loss: Tensor, clipped: nn.Module | None = None) -> None:
    """One step down the gradient, clipped to norm 1 for whom it is so by default."""
    optimizer.zero_grad()
    loss.float().backward()
    if clipped is not None:
        nn.utils.clip_grad_norm_(clipped.parameters(), 1.0)
    optimizer.step()


PEERS = {"diffusers": diffusers_course, "denoising-diffusion-pytorch": lucidrains, "smalldiffusion": smalldiffusion}


def contenders() -> dict[str, Callable[[], Contender]]:
    """All who take part, by name. Each is made, and its library imported, when its turn comes."""
    return {"minidiff": minidiff_digits, **PEERS}
