"""ONNX files and diffusers: the same numbers on both sides, and plain words where it cannot be."""

import pytest
import torch

from minidiff import samplers, schedules, training
from minidiff.denoisers import from_network
from minidiff.networks import UNet, initialised
from tests.cases import assert_close, normal

ARCHITECTURE = {"network": "UNet", "channels": 1, "widths": [16], "blocks": 1, "patch": 2, "classes": 0}
PATH = schedules.cosine()


@pytest.fixture(scope="module")
def net():
    """A U-Net whose last layers, which start at 0, are not 0."""
    made = initialised(lambda: UNet(widths=(16,), blocks=1), torch.Generator().manual_seed(5))
    source = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=source)
    return made.eval().requires_grad_(False)


def noise(n, make_generator, size=8, stream=1):
    return normal((n, 1, size, size), make_generator(stream)).float()


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from minidiff.workshop.exchange.onnx_files import to_onnx

    return to_onnx(net, tmp_path_factory.mktemp("onnx") / "net.onnx", (1, 8, 8))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_an_onnx_file_computes_what_the_network_does_for_any_batch(n, net, file, make_generator):
    from minidiff.workshop.exchange.onnx_files import OnnxNetwork

    x, log_snr = noise(n, make_generator), 5 * normal((n,), make_generator(2)).float()
    assert_close(OnnxNetwork(file)(x, log_snr), net(x, log_snr), 1e-5)


def test_it_takes_the_place_of_the_network_in_a_sampler(net, file, make_generator):
    from minidiff.workshop.exchange.onnx_files import OnnxNetwork

    x, times = noise(2, make_generator), torch.linspace(1, 0, 5)
    a, b = (
        samplers.last(samplers.ddim(from_network(each, PATH, "v"), PATH, x, times)) for each in (net, OnnxNetwork(file))
    )
    assert_close(a, b, 1e-4)


def test_eight_bits_are_smaller_and_near(net, file, make_generator, tmp_path):
    from minidiff.workshop.exchange.onnx_files import OnnxNetwork, in_eight_bits

    examples = [(noise(8, make_generator, stream=k), 3 * normal((8,), make_generator(k)).float()) for k in range(3)]
    rounded = in_eight_bits(file, tmp_path / "small.onnx", examples)
    assert rounded.stat().st_size < file.stat().st_size
    a, b = OnnxNetwork(rounded)(*examples[0]), OnnxNetwork(file)(*examples[0])
    assert 0 < (a - b).square().mean().sqrt() < 0.2 * b.std()


def test_what_an_onnx_file_does_not_know_is_refused(file, make_generator):
    from minidiff.workshop.exchange.onnx_files import OnnxNetwork

    with pytest.raises(ValueError, match="y must be None"):
        OnnxNetwork(file)(noise(1, make_generator), torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="threads must be a whole number >= 1"):
        OnnxNetwork(file, threads=0)


# --- diffusers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange():
    pytest.importorskip("diffusers")
    from minidiff.workshop.exchange import with_diffusers

    return with_diffusers


def test_betas_are_those_of_the_path(exchange):
    betas = exchange.betas_of(schedules.ddpm_linear(1000))
    assert_close(betas, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 1e-6)
    with pytest.raises(ValueError, match="alpha"):
        exchange.betas_of(schedules.rectified_flow())
    with pytest.raises(ValueError, match="kind must be one of"):
        exchange.scheduler_of(PATH, "score")


def test_a_pipeline_draws_our_samples_when_it_is_loaded_again(net, exchange, make_generator, tmp_path):
    """Notebook 27 does the same in a new process."""
    from diffusers import DDIMPipeline

    exchange.save_pipeline(tmp_path, net, ARCHITECTURE, PATH, "v", size=8)
    pipeline = DDIMPipeline.from_pretrained(tmp_path)
    pipeline.scheduler.set_timesteps(10)
    x = start = noise(2, make_generator)
    with torch.no_grad():
        for t in pipeline.scheduler.timesteps:
            x = pipeline.scheduler.step(pipeline.unet(x, t).sample, t, x, eta=0.0).prev_sample
    ours = samplers.last(samplers.ddim(from_network(net, PATH, "v"), PATH, start, torch.linspace(1, 0, 11)))
    assert (x - ours).abs().max() < 1e-4 * ours.abs().max()
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(batch_size=2, generator=make_generator(3), num_inference_steps=2, output_type="np").images
    assert drawn.shape == (2, 8, 8, 1)


def their_net(make_generator):
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "norm_num_groups": 8}
    sizes = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (16,)}
    return initialised(lambda: UNet2DModel(**sizes, **blocks), make_generator(3)).eval()


def test_a_network_of_theirs_draws_their_samples_here(exchange, make_generator):
    from diffusers import DDIMScheduler

    network, path = their_net(make_generator), schedules.ddpm_linear(1000)
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    x = start = noise(2, make_generator)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x, eta=0.0).prev_sample
        here = exchange.FromDiffusers(network, scheduler.alphas_cumprod)
        times = torch.linspace(1, 0, 11)
        ours = samplers.last(samplers.ddim(from_network(here, path, "eps"), path, start, times))
    assert (x - ours).abs().max() < 1e-4 * x.abs().max()


def test_timesteps_are_found_between_and_beyond_the_entries(exchange):
    table = torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)
    levels = torch.logit(table)
    asked = torch.cat([levels, (levels[:1] + levels[1:2]) / 2, torch.tensor([50.0, -50.0])])
    assert_close(exchange.timestep_of(asked, table), torch.tensor([0, 1, 2, 0.5, 0, 2], dtype=torch.float64))


def test_a_network_of_theirs_trains_in_our_loop_and_goes_back(exchange, make_generator, tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler

    scheduler = DDPMScheduler(clip_sample=False)
    here = exchange.FromDiffusers(their_net(make_generator), scheduler.alphas_cumprod)
    before = here.network.conv_in.weight.clone()
    batches = training.batches(noise(8, make_generator).clamp(-1, 1), batch_size=4, steps=2, seed=0)
    objective = training.denoising_objective(schedules.ddpm_linear(1000), "eps")
    optimizer = torch.optim.AdamW(here.parameters(), lr=1e-3)
    losses = [step.loss for step in training.train(here, batches, objective, optimizer, generator=make_generator(4))]
    assert len(losses) == 2 and not torch.equal(before, here.network.conv_in.weight)
    DDPMPipeline(unet=here.network.eval(), scheduler=scheduler).save_pretrained(tmp_path)
    back = DDPMPipeline.from_pretrained(tmp_path).unet
    x, t = noise(2, make_generator), torch.tensor([10, 900])
    with torch.no_grad():
        assert torch.equal(back(x, t).sample, here.network(x, t).sample)
