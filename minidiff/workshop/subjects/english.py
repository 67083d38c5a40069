"""The small English of notebook 22, with one kind of noise or another."""

from minidiff.workshop import texts
from minidiff.workshop.subjects.recipes import Recipe, Subject

__all__ = ["SUBJECTS"]


def of_english(name: str, learns_by: str, about: str) -> Subject:
    """The small English of notebook 22. learns_by: one of `texts.OBJECTIVES`."""
    causal = learns_by == "next word"
    network = {"network": "TokenTransformer", "vocabulary": texts.WORDS, "length": texts.LENGTH, "causal": causal}
    recipe = Recipe(
        name,
        network,
        (texts.LENGTH,),
        1000,
        64,
        0.03,
        0.9,
        objective="words",
        optimizer="muon",
        betas=(0.9, 0.99),
        other_rate=0.2,
        warmup=20,
        options={"learns by": learns_by},
    )
    return Subject(recipe, f"{about}; half a minute", points=texts.english, result=texts.result_of(learns_by))


SUBJECTS = (
    of_english("english-masked", "hidden words", "a small English whose words are hidden"),
    of_english("english-fifteen", "15 % hidden words", "the same, with 15 % of the words hidden, as BERT learns"),
    of_english("english-uniform", "exchanged words", "the small English whose words are exchanged"),
    of_english("english-gaussian", "words as vectors", "the small English as vectors in Gaussian noise"),
    of_english("english-left-to-right", "next word", "the small English, word by word"),
)
