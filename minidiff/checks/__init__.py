"""Exercises that say what is wrong: check an answer, ask for a hint, see the solution, note a prediction.

    check("5.1", forward_step)    right, or which mistake it is, or the smallest case in which it is wrong
    hint("5.1")                   the next hint
    solution("5.1")               the answer, another way to write it, and why it is right
    picture("5.1", forward_step)  your answer drawn over the right one
    predict("the variance", 1.0)  what you expect, before you run the next cell

How it works: an exercise holds a right answer and the wrong ones that people give. An answer is called on a few cases
(`observing`), and what it did is compared with what they do (`judging`). So a mistake that is known is named, and one
that is not known is shown by the smallest case in which it matters. `n05` holds the exercises
of notebook 05. Some ask for a number or a choice instead of a function, and some for words, which no program checks.
"""

from minidiff.checks.asking import Prediction, check, hint, predict, solution
from minidiff.checks.pictures import picture
from minidiff.checks.records import Verdict

__all__ = ["Prediction", "Verdict", "check", "hint", "picture", "predict", "solution"]
