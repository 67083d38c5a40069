"""The table of all subjects."""

from collections.abc import Mapping

from minidiff.data.pictures import PicturesUnfit
from minidiff.workshop.subjects import captions, cascades, digits, english, plane, students
from minidiff.workshop.subjects.own import of_pictures
from minidiff.workshop.subjects.recipes import Recipe, Subject
from minidiff.workshop.workers import Refused

__all__ = ["SUBJECTS", "subject_of"]

SUBJECTS: Mapping[str, Subject] = {
    subject.recipe.subject: subject
    for part in (plane, digits, students, cascades, captions, english)
    for subject in part.SUBJECTS
}


def subject_of(recipe: Recipe) -> Subject:
    """The subject that a recipe was made for. Raises Refused where nobody knows it, or its pictures are gone."""
    if recipe.source is not None:
        channels, size, _ = recipe.shape
        try:
            return of_pictures(recipe.source, size=size, grey=channels == 1)
        except PicturesUnfit as error:
            raise Refused(f"the pictures that it was trained on are needed to measure it: {error}") from error
    if recipe.subject not in SUBJECTS:
        raise Refused(f"the card must name its subject, one of {', '.join(SUBJECTS)}, but says {recipe.subject!r}")
    return SUBJECTS[recipe.subject]
