"""The bug to find: a wrong answer of a variant that was not handed out, shown as code, and five things it might be."""

import ast
import inspect
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType

from minidiff.checks.records import Exercise, Wrong, arguments
from minidiff.workshop.labs.records import Lab, Variant
from minidiff.workshop.labs.salt import number, variants_of

__all__ = ["LETTERS", "Bug", "bug_of", "bugs_in", "code_of"]

LETTERS = "ABCDE"
WIDE = 88  # characters of a line


@dataclass(frozen=True)
class Bug:
    """A function with a bug, the variant it was meant to solve, five sentences, and the letter of the right one."""

    variant: Variant
    code: str
    choices: tuple[str, ...]
    right: str
    name: str


def bug_of(lab: Lab, salt: str, student: str = "") -> Bug:
    """The bug of a lab, drawn by the salt; by the student too, where each gets a notebook of their own."""
    handed_out = variants_of(lab, salt).values()
    left = [one for problem in lab.problems for one in problem.variants if one not in handed_out]
    found = [(variant, wrong, code) for variant in left for wrong, code in bugs_in(variant.exercise)]
    drawn = number(salt, lab.number, "bug", student)
    variant, wrong, code = found[drawn % len(found)]
    order = random.Random(drawn)
    others = [other.message for other in variant.exercise.wrong if other is not wrong]
    choices = [wrong.message, *order.sample(others, min(len(LETTERS) - 1, len(others)))]
    order.shuffle(choices)
    return Bug(variant, code, tuple(choices), LETTERS[choices.index(wrong.message)], wrong.name)


def bugs_in(exercise: Exercise) -> list[tuple[Wrong, str]]:
    """The wrong answers of an exercise that can be shown as code which needs nothing but math and torch."""
    return [(wrong, code) for wrong in exercise.wrong if (code := code_of(exercise, wrong)) is not None]


def code_of(exercise: Exercise, wrong: Wrong) -> str | None:
    """A wrong answer as a function that somebody might have written, or None where it needs helpers of its own."""
    code = getattr(wrong.answer, "__code__", None)
    if not isinstance(code, CodeType) or code.co_freevars:
        return None
    found = [node for node in _functions(inspect.getsourcefile(code)) if node.lineno == code.co_firstlineno]
    if len(found) != 1:
        return None
    (node,) = found
    if tuple(argument.arg for argument in node.args.args) != arguments(exercise):
        return None
    body = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
    body = [_Plain().visit(statement) for statement in ast.parse(ast.unparse(ast.Module(body, []))).body]
    names = {one.id for statement in body for one in ast.walk(statement) if isinstance(one, ast.Name)}
    helpers = names & set(getattr(wrong.answer, "__globals__", {})) - {"math", "torch"}
    if helpers:
        return None
    stub = ast.parse(exercise.stub.strip()).body[0]
    head = exercise.stub.strip().splitlines()[0]
    says = inspect.cleandoc(ast.get_docstring(stub)).replace("\n", "\n    ")
    lines = [line for statement in body for line in _wrapped(statement)]
    return "\n".join([head, f'    """{says}"""', *(f"    {line}" for line in lines)])


class _Plain(ast.NodeTransformer):
    """Write out the helper of the catalogue that draws noise, as a student would write it."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "normal" and len(node.args) == 2:
            x, g = (ast.unparse(argument) for argument in node.args)
            return ast.parse(f"torch.randn({x}.shape, generator={g}, dtype={x}.dtype)", mode="eval").body
        return node


@cache
def _functions(file: str) -> list[ast.Lambda | ast.FunctionDef]:
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Lambda, ast.FunctionDef))]


def _wrapped(statement: ast.stmt) -> Iterator[str]:
    """A statement in lines; a long sum to return is broken at its signs."""
    text = ast.unparse(statement)
    terms = []
    if isinstance(statement, ast.Return) and len(text) > WIDE:
        left = statement.value
        while isinstance(left, ast.BinOp) and isinstance(left.op, (ast.Add, ast.Sub)):
            sign = "+" if isinstance(left.op, ast.Add) else "-"
            right = ast.unparse(left.right)
            compound = isinstance(left.right, ast.BinOp) and isinstance(left.right.op, (ast.Add, ast.Sub))
            terms.append(f"    {sign} {f'({right})' if compound else right}")
            left = left.left
        terms.append(f"    {ast.unparse(left)}")
    if len(terms) > 1:
        yield from ["return (", *reversed(terms), ")"]
    else:
        yield from text.splitlines()
