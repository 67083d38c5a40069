"""The bug to find: a wrong answer of a variant that was not handed out, shown as code, and five things it might be."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from types import CodeType
from typing import Any

from minidiff.checks.records import Exercise, Wrong, arguments
from minidiff.workshop.labs.records import Lab, Variant
from minidiff.workshop.labs.salt import number, variants_of

__all__ = ["LETTERS", "Bug", "bug_from", "bug_of", "bugs_in", "code_of", "record_of"]

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

    def place(message: str) -> int:
        return number(salt, lab.number, "order", student, message)

    others = sorted((other.message for other in variant.exercise.wrong if other is not wrong), key=place)
    choices = sorted([wrong.message, *others[: len(LETTERS) - 1]], key=place)
    return Bug(variant, code, tuple(choices), LETTERS[choices.index(wrong.message)], wrong.name)


def record_of(bug: Bug) -> dict[str, Any]:
    """A bug as JSON holds it, so that it is marked as it was handed out, whatever a later edition would draw."""
    return {**asdict(bug), "variant": bug.variant.exercise.id}


def bug_from(record: dict[str, Any], lab: Lab) -> Bug:
    """The bug of a record."""
    variants = {one.exercise.id: one for problem in lab.problems for one in problem.variants}
    return Bug(variants[record["variant"]], record["code"], tuple(record["choices"]), record["right"], record["name"])


@cache
def bugs_in(exercise: Exercise) -> tuple[tuple[Wrong, str], ...]:
    """The wrong answers of an exercise that can be shown as code which needs nothing but math and torch."""
    return tuple((wrong, code) for wrong in exercise.wrong if (code := code_of(exercise, wrong)) is not None)


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


SIGNS = {ast.Add: (1, "+"), ast.Sub: (1, "-"), ast.Mult: (2, "*"), ast.Div: (2, "/"), ast.MatMult: (2, "@")}


def _wrapped(statement: ast.stmt) -> Iterator[str]:
    """A statement in lines; a long expression is put into brackets and broken at its signs."""
    text = ast.unparse(statement)
    value = getattr(statement, "value", None)
    parts = _broken(value) if isinstance(statement, (ast.Return, ast.Assign)) and len(text) > WIDE else []
    if len(parts) > 1:
        yield f"{text[: len(text) - len(ast.unparse(value))]}("
        yield from (f"    {part}" for part in parts)
        yield ")"
    else:
        yield from text.splitlines()


def _broken(value: ast.expr) -> list[str]:
    """An expression in lines that are not too wide, where its signs allow it."""
    text = ast.unparse(value)
    if len(text) <= WIDE - 8 or not isinstance(value, ast.BinOp) or type(value.op) not in SIGNS:
        return [text]
    rank, sign = SIGNS[type(value.op)]
    left, right = _broken(value.left), _broken(value.right)
    if _rank(value.left) < rank:
        left = [f"({left[0]}", *left[1:-1], f"{left[-1]})"] if len(left) > 1 else [f"({left[0]})"]
    if _rank(value.right) <= rank:
        right = [f"({right[0]}", *right[1:-1], f"{right[-1]})"] if len(right) > 1 else [f"({right[0]})"]
    return [*left, f"{sign} {right[0]}", *right[1:]]


def _rank(value: ast.expr) -> int:
    """How strongly an expression binds: sums least."""
    if isinstance(value, ast.BinOp):
        return SIGNS.get(type(value.op), (3, ""))[0]
    return 0 if isinstance(value, (ast.IfExp, ast.Lambda, ast.BoolOp, ast.Compare)) else 3
