"""A reader's own pictures."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from minidiff.data.pictures import PicturesUnfit, pictures
from minidiff.workshop import evaluation
from minidiff.workshop.subjects.digits import LABEL_DROPOUT, LIVE, U_NET
from minidiff.workshop.subjects.recipes import Subject
from minidiff.workshop.workers import Refused

__all__ = ["of_pictures", "shrunk"]

PICTURE_SAMPLES = 200  # to measure with, where a folder holds enough pictures that no training sees
VIEWED = 16  # pixels on a side by which pictures are compared: more would take minutes, and vary little by themselves


def of_pictures(folder: str | Path, *, size: int = 32, grey: bool = False) -> Subject:
    """A folder of pictures, whose subfolders are labels. Trained as MNIST is.

    Raises Refused for a size that cannot be, PicturesUnfit for a folder that will not do.
    """
    try:
        found = pictures(folder, size=size, grey=grey)
    except PicturesUnfit:
        raise
    except ValueError as error:
        raise Refused(f"--{error}") from error
    classes = len(found.names)
    recipe = replace(
        LIVE,
        subject="pictures",
        architecture={**U_NET, "channels": 1 if grey else 3, "classes": classes},
        shape=(1 if grey else 3, size, size),
        batch_size=min(LIVE.batch_size, len(found.train.x)),
        label_dropout=LABEL_DROPOUT if classes else 0.0,
        source=str(Path(folder).expanduser().resolve()),
        pictures=found.fingerprint,
    )

    def views() -> dict[str, evaluation.View]:
        view = evaluation.principal_view(shrunk(found.train.x))
        return {f"{evaluation.COMPONENTS} principal components": lambda x: view(shrunk(x))}

    return Subject(
        recipe,
        "a folder of pictures",
        images=lambda part: getattr(found, part),
        views=views,
        samples=min(PICTURE_SAMPLES, len(found.test.x) // 2),
        notes=found.notes,
    )


def shrunk(x: Tensor) -> Tensor:
    """Pictures at the size by which they are compared, by averaging over what becomes one pixel."""
    return functional.interpolate(x, size=(VIEWED, VIEWED), mode="area") if x.shape[-1] > VIEWED else x
