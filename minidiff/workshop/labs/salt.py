"""What the salt of a course decides: variants, hidden inputs, bugs. The same salt decides alike on every machine.

A salt is a secret of the lecturer's. Whoever does not know it cannot tell the hidden inputs.
"""

import hashlib
import os
import secrets
from pathlib import Path

from minidiff.checkpoints import write_file
from minidiff.workshop.labs.records import Lab, Variant
from minidiff.workshop.workers import Refused

__all__ = ["SALT", "inputs_of", "number", "salt_of", "variants_of"]

SALT = "MINIDIFF_LAB_SALT"
FILE = "salt.txt"
SHORTEST = 8


def salt_of(course: Path) -> str:
    """The salt of a course: the environment variable, or a file in its folder, which is written the first time.

    Raises Refused where the two differ, since marks given under one would change under the other.
    """
    said, path = os.environ.get(SALT, "").strip(), course / FILE
    kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if said and kept and said != kept:
        raise Refused(f"{SALT} is another salt than that in {path}. Unset it, or take another folder: COURSE=...")
    salt = kept or said or secrets.token_hex(16)
    if len(salt) < SHORTEST:
        raise Refused(f"{SALT} must have at least {SHORTEST} characters, but has {len(salt)}")
    if not kept:
        course.mkdir(parents=True, exist_ok=True)
        write_file(path, f"{salt}\n".encode())
        path.chmod(0o600)
    return salt


def number(salt: str, *names: str) -> int:
    """A whole number from 0 to 2^32 - 1, decided by a salt and names."""
    text = "\0".join((salt, *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4, person=b"minidiff lab").digest(), "big")


def variants_of(lab: Lab, salt: str) -> dict[str, Variant]:
    """For each problem of a lab, by its name, the variant that is handed out."""
    return {
        problem.name: problem.variants[number(salt, lab.number, problem.name) % len(problem.variants)]
        for problem in lab.problems
    }


def inputs_of(lab: Lab, salt: str, problem: str) -> int:
    """What chooses the hidden inputs of a problem."""
    return number(salt, lab.number, problem, "inputs")
