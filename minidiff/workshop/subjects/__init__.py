"""Everything that can be trained: one record each. A new stage of the course adds one.

A `Recipe` holds all that a training follows from, so that nothing is read from a constant that a later version may
change; card and snapshots hold the recipe. A `Subject` is a recipe with its data, and how the result is measured.

recipes     what a recipe and a subject are, and the objectives
sets        the pictures, and what they are compared by
known       the table, which gathers what plane, digits, students, cascades, captions and english list
own         a reader's own pictures
records     recipes on disk
"""

from minidiff.workshop.subjects.known import SUBJECTS, subject_of
from minidiff.workshop.subjects.own import of_pictures
from minidiff.workshop.subjects.recipes import Recipe, Subject, training_batches
from minidiff.workshop.subjects.records import recipe_of

__all__ = ["SUBJECTS", "Recipe", "Subject", "of_pictures", "recipe_of", "subject_of", "training_batches"]
