"""A folder of pictures of your own, as images of one size: a part to train on and a part to test on.

Whatever such a folder holds is either used or named in a note: what was turned, cut or enlarged, what was left out and
why. Each picture is made upright, its middle square is cut out and brought to the size by Lanczos' filter, which
averages over what it shrinks. Pillow reads the files. It comes with matplotlib, and is imported only here, when needed.
"""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from minidiff._tensors import check_whole
from minidiff.data.images import Images, to_images
from minidiff.data.places import named_folder

__all__ = ["Pictures", "PicturesUnfit", "pictures"]

MULTIPLE = 4  # the course's U-Net makes patches of 2x2 pixels, and halves what they give
SMALLEST_SIZE = 8
LEAST_TRAIN, LEAST_TEST = 16, 2
TEST_SHARE = 0.1
SHOWN_NAMES, SHOWN_LETTERS = 3, 60

# Formats that Pillow hands to other programs (PostScript could do anything), or of which it knows the name alone
REFUSED_FORMATS = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}

# What may be met -> what is said of it, in this order. Those of LEFT_OUT are missing from the result.
LEFT_OUT = {
    "unreadable": "Left out, since they cannot be read",
    "too large": "Left out, since Pillow refuses pictures as large as they are",
    "unlabelled": "Left out, since they lie beside the subfolders, whose names are the labels, and so have none",
    "copy": "Left out, since they are copies of others at this size",
    "two labels": "Left out, since they are copies of pictures that lie under another label",
}
ALTERED = {
    "turned": "Turned upright, as their EXIF data ask",
    "cut": "Cut to their middle, since they are not square",
    "transparent": "Shown on white, since they are transparent in parts",
    "several": "Used by their first frame or page, of several",
    "enlarged": "Enlarged, since they are smaller than the size",
}


class PicturesUnfit(ValueError):
    """A folder holds nothing that one could train on. The message says why, what was met there, and what to do."""


class Pictures(NamedTuple):
    """What `pictures` made of a folder.

    train, test: x (N, C, size, size), float32 in [-1, 1]; y (N,), int64, places in `names`, or None without labels.
    names: what the labels are called, in order; () without labels. Safe to print, as the notes are.
    notes: one line for each kind of thing that was met; () where every file was used as it is.
    fingerprint: a name for all that is used, which another picture or another file name changes.
    """

    train: Images
    test: Images
    names: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprint: str


class Square(NamedTuple):
    """A picture that was read: pixels (size, size) or (size, size, 3), uint8; what it holds in full, as a number that
    depends on neither its name nor the size; and what was done to it, of ALTERED."""

    pixels: np.ndarray
    fingerprint: bytes
    altered: tuple[str, ...]


class Kept(NamedTuple):
    """A picture that is used, and the file that it came from, as seen from the folder."""

    file: Path
    square: Square


def pictures(folder: str | Path, *, size: int = 32, grey: bool = False) -> Pictures:
    """Read every picture below a folder: x (N, 3, size, size), or (N, 1, size, size) with `grey`.

    Labels are the subfolders, if there are two or more with pictures; whatever lies deeper in one belongs to it. Then
    pictures beside the subfolders have no label and are left out. Hidden files are passed over.

    About a tenth is set aside for testing, by a hash of what each picture shows: so neither names nor order, nor
    pictures that are added later, nor `size` and `grey` move a picture from one part to the other. (Small sets are an
    exception: 16 at least are for training, 2 for testing, and of each label one for training, where that can be.) Of
    pictures with the same pixels at this size one is kept, so that no copy is in both parts. Other versions of one
    picture, such as another cut of it, are not noticed.

    Raises PicturesUnfit (a ValueError) where the folder is none, may not be read, or holds too few pictures.
    """
    check_whole("size", size, SMALLEST_SIZE)
    if size % MULTIPLE:
        near = [size // MULTIPLE * MULTIPLE, (size // MULTIPLE + 1) * MULTIPLE]
        raise ValueError(
            f"size must be a multiple of {MULTIPLE}, since the network halves the sides of a picture twice, but is "
            f"{size}: take {near[0]} or {near[1]}"
        )
    if not isinstance(grey, (bool, np.bool_)):
        raise TypeError(f"grey must be True or False, but is {grey!r}")
    root = checked_folder(folder)
    files, passed_over, shut = files_below(root)
    met = {kind: [] for kind in (*LEFT_OUT, *ALTERED)}
    kept, labels = labelled(read_all(root, files, int(size), bool(grey), met), met)
    kept = without_copies(kept, labels, met)
    if labels:  # again, since all pictures of one may have been copies
        labels = subfolders([each.file for each in kept])
    relative = [[path.relative_to(root) for path in paths] for paths in (files, passed_over, shut)]
    notes = notes_of_files(met, *relative) + notes_of_set(kept, relative[0], labels, grey)
    if len(kept) < LEAST_TRAIN + LEAST_TEST:
        raise PicturesUnfit(too_few(root, len(kept), len(files), notes))
    y = np.array([labels.index(each.file.parts[0]) for each in kept]) if labels else None
    train, test = split([each.square.fingerprint for each in kept], y)
    names = tuple(printable(name) for name in labels)
    return Pictures(part(kept, y, train), part(kept, y, test), names, notes, fingerprint_of(kept))


def fingerprint_of(kept: Sequence[Kept]) -> str:
    """One for a whole set: of what each picture shows and what its file is called, in the order of the names."""
    whole = hashlib.sha256()
    for each in sorted(kept, key=lambda each: each.file):
        name = each.file.as_posix().encode(errors="surrogateescape")
        whole.update(each.square.fingerprint + hashlib.sha256(name).digest())
    return whole.hexdigest()


def part(kept: Sequence[Kept], y: np.ndarray | None, chosen: Sequence[int]) -> Images:
    return to_images(np.stack([kept[i].square.pixels for i in chosen]), None if y is None else y[chosen], largest=255)


# --- files -----------------------------------------------------------------------------------------------------------


def checked_folder(folder: str | Path) -> Path:
    """The folder, if it is one."""
    root = named_folder("folder", folder)
    if not os.path.lexists(root):
        given = "does not exist"
    elif not os.path.isdir(root):
        given = "is a file" if os.path.isfile(root) else "is no folder"
    else:
        try:
            os.listdir(root)
            return root
        except OSError as error:
            given = f"cannot be read ({error.strerror})"
    raise PicturesUnfit(
        f"folder must be a folder of pictures, but {printable(root)} {given}. What to do: check the path"
    )


def files_below(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Files that end as pictures do, files that do not, and folders that may not be read; sorted by name.

    Links are followed, but for those to a folder that they lie in. What is hidden is passed over.
    """
    endings, _ = readable()
    found, others, shut = [], [], []

    def look(folder: Path, above: tuple[str, ...]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            shut.append(folder)
            return
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FILES:
                continue
            if os.path.isdir(path):
                real = os.path.realpath(path)
                if real not in above:
                    look(path, (*above, real))
            else:
                (found if path.suffix.lower() in endings else others).append(path)

    look(root, (os.path.realpath(root),))
    return found, others, shut


def readable() -> tuple[set[str], list[str]]:
    """Endings, in small letters, and Pillow's names of the formats that are read here."""
    from PIL import Image

    Image.init()
    formats = [name for name in Image.ID if name not in REFUSED_FORMATS]
    return {ending for ending, name in Image.registered_extensions().items() if name in formats}, formats


# --- one picture -----------------------------------------------------------------------------------------------------


def read_all(root: Path, files: Sequence[Path], size: int, grey: bool, met: dict[str, list[str]]) -> list[Kept]:
    """Every picture that can be read. What cannot is written down in `met`."""
    from PIL import Image

    kept, (_, formats) = [], readable()
    for path in tqdm(files, desc="reading pictures", unit=" pictures", delay=3):
        file = path.relative_to(root)
        try:
            if not os.path.isfile(path):  # a pipe would let us wait for ever
                raise ValueError("a broken link" if os.path.islink(path) else "not a file")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what may be odd in a picture that can be read all the same
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                kept.append(Kept(file, read_square(path, formats, size, grey)))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            met["too large"].append(shown(file))
        except Exception as error:  # Pillow raises every kind of error over damaged files
            met["unreadable"].append(f"{shown(file)} ({why_unreadable(error, path)})")
    return kept


def why_unreadable(error: Exception, path: Path) -> str:
    """In a few words."""
    from PIL import UnidentifiedImageError

    match error:
        case PermissionError():
            return "you may not read it"
        case UnidentifiedImageError():
            return "it is empty" if os.path.getsize(path) == 0 else "no picture that Pillow knows"
        case OSError(strerror=str(words)):
            return shown(words)
    return shown(str(error).splitlines()[0] if str(error) else type(error).__name__)


def read_square(path: Path, formats: Sequence[str], size: int, grey: bool) -> Square:
    """Read one picture: upright, its transparent parts on white, its middle square, in 8 bits, at the size."""
    from PIL import Image

    altered = []
    with Image.open(path, formats=formats) as image:
        # phones store a second, hidden picture in some of their JPEGs, which Pillow calls MPO
        if getattr(image, "is_animated", False) and image.format != "MPO":
            altered.append("several")
        image.load()
        image = eight_bits(upright(image, altered))
        side = min(image.size)
        if max(image.size) != side:
            altered.append("cut")
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        image = on_white(image, altered)
    fingerprint = hashlib.sha256(b"%d " % side + image.tobytes()).digest()
    if grey:
        image = image.convert("L")
    if side != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    if side < size:
        altered.append("enlarged")
    return Square(np.asarray(image), fingerprint, tuple(altered))


def upright(image, altered: list[str]):
    """Turned as its EXIF data ask. Damaged EXIF data ask for nothing. Takes and returns a PIL.Image.Image."""
    from PIL import ExifTags, ImageOps

    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9):
            return image
        turned = ImageOps.exif_transpose(image)
    except Exception:  # as varied as what may stand there
        return image
    altered.append("turned")
    return turned


def eight_bits(image):
    """Grey values of 16 bits in 8, where Pillow would cut them off at 255. Takes and returns a PIL.Image.Image."""
    from PIL import Image

    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its numbers are not those of 8 or 16 bits")
    return Image.fromarray(((values.astype(np.int64) + 128) // 257).astype(np.uint8))


def on_white(image, altered: list[str]):
    """In red, green and blue; what is transparent lets white through. Takes and returns a PIL.Image.Image."""
    from PIL import Image

    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    altered.append("transparent")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


# --- all together ----------------------------------------------------------------------------------------------------


def labelled(kept: list[Kept], met: dict[str, list[str]]) -> tuple[list[Kept], list[str]]:
    """The pictures that are used, and the subfolders that are their labels: none, unless there are two or more."""
    labels = subfolders([each.file for each in kept])
    if len(labels) < 2:
        return kept, []
    met["unlabelled"] += [shown(each.file) for each in kept if len(each.file.parts) == 1]
    return [each for each in kept if len(each.file.parts) > 1], labels


def subfolders(files: Iterable[Path]) -> list[str]:
    """The first folder of each file that lies in one, once."""
    return sorted({file.parts[0] for file in files if len(file.parts) > 1})


def without_copies(kept: list[Kept], labels: list[str], met: dict[str, list[str]]) -> list[Kept]:
    """One of those that are alike in every pixel: that with the smallest fingerprint, which no name can change."""
    originals: dict[bytes, Kept] = {}
    for each in sorted(kept, key=lambda each: (each.square.fingerprint, each.file)):
        original = originals.setdefault(hashlib.sha256(each.square.pixels).digest(), each)
        if original is not each:
            elsewhere = labels and original.file.parts[0] != each.file.parts[0]
            met["two labels" if elsewhere else "copy"].append(f"{shown(each.file)} of {shown(original.file)}")
    for original in originals.values():
        for kind in original.square.altered:
            met[kind].append(shown(original.file))
    return sorted(originals.values(), key=lambda each: each.file)


def split(fingerprints: Sequence[bytes], y: np.ndarray | None) -> tuple[list[int], list[int]]:
    """Places of the pictures to train on and to test on: those whose fingerprint, as a number in [0, 1), is below a
    tenth. Of each label the last is kept for training, unless too few to test on would be left."""
    order = sorted(range(len(fingerprints)), key=lambda i: fingerprints[i])
    last = {} if y is None else {int(y[i]): i for i in order}  # later ones overwrite earlier ones
    free = [i for i in order if i not in last.values()]
    below = sum(int.from_bytes(fingerprints[i][:8], "big") < TEST_SHARE * 2**64 for i in free)
    ready = free if len(free) >= LEAST_TEST else free + [i for i in order if i in last.values()]
    test = set(ready[: min(max(below, LEAST_TEST), len(order) - LEAST_TRAIN)])
    return [i for i in range(len(order)) if i not in test], sorted(test)


# --- what is said ----------------------------------------------------------------------------------------------------


def notes_of_files(
    met: dict[str, list[str]], files: Sequence[Path], passed_over: Sequence[Path], shut: Sequence[Path]
) -> tuple[str, ...]:
    """One line for each kind of thing that was met in the files."""
    notes = [
        f"{words}: {len(met[kind])} of {len(files)} pictures ({some(sorted(met[kind]))})."
        for kind, words in (LEFT_OUT | ALTERED).items()
        if met[kind]
    ]
    if shut:
        notes.append(
            f"Left out, since you may not look into them: {number(shut, 'folder')} ({some(map(shown, shut))})."
        )
    if passed_over:
        endings = Counter(shown(path.suffix.lower()) or "no ending" for path in passed_over)
        counted = some(f"{ending}: {count}" for ending, count in endings.most_common())
        words = "Left out, since they do not end as pictures do that Pillow reads"
        notes.append(f"{words}: {number(passed_over, 'file')} ({counted}).")
    return tuple(notes)


def notes_of_set(kept: Sequence[Kept], files: Sequence[Path], labels: Sequence[str], grey: bool) -> tuple[str, ...]:
    """One line for each thing about the whole that its owner may not have meant."""
    notes = []
    used = subfolders([each.file for each in kept])
    if not labels and used:
        notes.append(f"There are no labels, since pictures of only one subfolder are used ({shown(used[0])}).")
    lost = [shown(name) for name in subfolders(files) if name not in labels]
    if labels and lost:
        notes.append(f"No label, since none of their pictures is used: {number(lost, 'subfolder')} ({some(lost)}).")
    if labels and {name.lower() for name in labels} <= PARTS:
        names = " and ".join(shown(name) for name in labels)
        notes.append(f"The subfolders {names} are taken for labels. If they are parts of one set, name one of them.")
    if not grey and kept and all(is_grey(each.square.pixels) for each in kept):
        notes.append("Every picture is grey: read as grey, they would need one channel instead of three.")
    return tuple(notes)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether red, green and blue are the same everywhere. pixels: (H, W, 3)."""
    return bool((pixels == pixels[..., :1]).all())


def too_few(root: Path, n_kept: int, n_files: int, notes: Sequence[str]) -> str:
    """Why a folder is not enough, and what was met there."""
    held = f"{n_kept} of the {n_files} in {printable(root)} can be used" if n_files else f"{printable(root)} holds none"
    return (
        f"folder must hold at least {LEAST_TRAIN + LEAST_TEST} different pictures, {LEAST_TRAIN} to train on and "
        f"{LEAST_TEST} to test on, but {held}. {''.join(f'{note} ' for note in notes)}What to do: add pictures, or "
        "name another folder"
    )


def number(things: Sequence[object], word: str) -> str:
    """How many there are, with their word."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def printable(name: object) -> str:
    """A file's name as it can be printed anywhere: codes stand for line breaks, control characters and the like."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(name))


def shown(name: object) -> str:
    """The same, and long ones shortened to their end."""
    text = printable(name)
    return text if len(text) <= SHOWN_LETTERS else f"...{text[3 - SHOWN_LETTERS :]}"
