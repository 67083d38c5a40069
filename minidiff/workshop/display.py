"""What a training shows to the person in front of it: a bar or lines, a log, pictures of what it draws by now."""

import contextlib
import io
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from minidiff.checkpoints import write_file
from minidiff.samplers import ddim
from minidiff.training import TrainStep
from minidiff.workshop.evaluation import even_told, sample
from minidiff.workshop.few_steps import FEW, sample_few
from minidiff.workshop.pace import Plan
from minidiff.workshop.snapshots import Training
from minidiff.workshop.subjects import Recipe

__all__ = ["LOG", "Display", "draw", "image_png", "picture_name", "picture_of", "say", "trim_log", "write_log"]

LOG = "log.jsonl"
LINE_SECONDS = 60.0  # between two lines where there is no terminal
POINTS_DRAWN, IMAGES_DRAWN, STEPS_DRAWN = 2000, 40, 25


def say(line: str) -> None:
    """One line for the person who waits. Results go to the standard output, this does not."""
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the work goes on
        tqdm.write(line, file=sys.stderr)


class Display:
    """A progress bar with loss, speed and time left on a terminal; one line a minute where there is none."""

    def __init__(self, plan: Plan, start: int, *, shown: bool):
        self.plan, self.start, self.shown = plan, start, shown
        self.begun = self.line_at = time.monotonic()
        on_terminal = shown and sys.stderr.isatty()
        self.bar = tqdm(total=plan.total, initial=start, unit="step", dynamic_ncols=True) if on_terminal else None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, step: int, loss: float, speed: float) -> None:
        if self.bar is not None:
            self.bar.total = self.plan.total
            self.bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} samples/s", refresh=False)
            self.bar.update(step - self.bar.n)
            return
        now, steps = time.monotonic(), self.plan.total
        if self.shown and (self.line_at in (self.begun, now) or now - self.line_at >= LINE_SECONDS or step == steps):
            left = (now - self.begun) / (step - self.start) * (steps - step)
            say(f"step {step} of {steps}, loss {loss:.4f}, {speed:.0f} samples/s, {left / 60:.1f} min left")
            self.line_at = now


def draw(folder: Path, training: Training, recipe: Recipe, step: int) -> None:
    """A picture of what the model draws by now, always from the same noise: `samples-STEP.png`.

    A classifier draws nothing.
    """
    if not recipe.draws:
        return
    from minidiff import plots  # here, since only the lead draws

    of_points = len(recipe.shape) == 1
    n = POINTS_DRAWN if of_points else IMAGES_DRAWN
    y, times = even_told(n, recipe), torch.linspace(1, 0, STEPS_DRAWN + 1)
    how = {"times": times, "sampler": ddim, "seed": 0}
    if recipe.objective in FEW:
        x = sample_few(training.ema.net, recipe, n, y, seed=0)
    else:
        x = sample(training.ema.net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how)
    figure, axes = plots.panels(titles=[f"{recipe.subject}, step {step}"])
    if of_points:
        plots.points(axes[0], x, colour=plots.LEARNED)
    else:
        plots.image_grid(axes[0], x)
    write_file(folder / picture_name(step), plots.png(figure))


def picture_of(x: Tensor) -> bytes:
    """Samples, (N, *D), as a PNG file: points in the plane, or images, each about 64 pixels high; films in rows."""
    if x.ndim == 2:
        from minidiff import plots

        figure, axes = plots.panels()
        plots.points(axes[0], x, colour=plots.LEARNED)
        return plots.png(figure)
    n, channels, height, width = x.shape
    columns = math.ceil(math.sqrt(n))
    if channels not in (1, 3):  # a film: its frames in a row
        x, n, channels, columns = x.flatten(0, 1)[:, None], n * channels, 1, channels
    if width != height:  # two digits side by side: a grey line tells where a picture ends
        x, height, width = functional.pad(x, (0, 1, 0, 1)), height + 1, width + 1
    blank = -x.new_ones(math.ceil(n / columns) * columns - n, channels, height, width)
    rows = torch.cat([x, blank]).unflatten(0, (-1, columns))  # (rows, columns, C, H, W)
    grid = rows.permute(2, 0, 3, 1, 4).reshape(channels, -1, columns * width)
    return image_png(grid, larger=max(1, 64 // height))


def image_png(x: Tensor, *, larger: int = 1) -> bytes:
    """One image, (1 or 3, H, W) in [-1, 1], as a PNG file, every pixel a square of `larger` pixels."""
    from PIL import Image  # comes with matplotlib

    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[:, :, 0] if len(x) == 1 else pixels)
    content = io.BytesIO()
    picture.resize((larger * picture.width, larger * picture.height), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()


def picture_name(step: int) -> str:
    """The file that shows what the model drew at a step."""
    return f"samples-{step:06d}.png"


def write_log(folder: Path, report: TrainStep, loss: float, training: Training, speed: float, seconds: float) -> None:
    """Append a line to the log."""
    line = {
        "step": report.step,
        "loss": loss,
        "gradient norm": report.gradient_norm,
        "learning rate": training.optimizer.param_groups[0]["lr"],
        "samples per second": round(speed, 1),
        "seconds": round(seconds, 2),
        "threads": torch.get_num_threads(),
    }
    with (folder / LOG).open("ab") as file:
        end = file.tell()
        try:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
        except OSError:  # no half line
            os.truncate(folder / LOG, end)
            raise


def trim_log(folder: Path, step: int) -> None:
    """Drop the lines after a step, from which training goes on, and a line that was cut off."""
    kept = []
    if (folder / LOG).is_file():
        for line in (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # what is no line of ours
                kept += [line] if json.loads(line)["step"] <= step else []
    write_file(folder / LOG, "".join(f"{line}\n" for line in kept).encode())
