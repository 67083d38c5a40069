"""`python -m tests.tools.lowest FILE`: write the oldest versions that pyproject.toml allows, as constraints for pip.

`make lowest` installs them and runs the whole test. Only what minidiff itself needs is held at its oldest: of the tools
around it, an old version of one seldom goes with an old version of another.
"""

import argparse
import re
import tomllib
from pathlib import Path

from minidiff.checkpoints import write_file

__all__ = ["main", "oldest"]

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def oldest(requirements: list[str]) -> list[str]:
    """`name==version` for each `name>=version`. ValueError where a requirement says anything else."""
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements]
    if not all(found):
        wrong = [requirement for requirement, match in zip(requirements, found, strict=True) if not match]
        raise ValueError(f"these requirements name no oldest version as name>=version does: {', '.join(wrong)}")
    return [f"{match[1]}=={match[2]}" for match in found]


def main(arguments: list[str] | None = None) -> None:
    """Write the file, and the folder that it lies in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args(arguments).file
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, "".join(f"{line}\n" for line in oldest(project["dependencies"])).encode())


if __name__ == "__main__":
    main()
