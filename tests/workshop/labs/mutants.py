"""Mutants: a function with one thing in it changed, as a slip of the pen or of the mind would change it.

They are made from the syntax tree, in a fixed order and with nothing random, so that a mutant has the same name in
every run. Nothing here knows which of them are wrong: some say the same in other words.
"""

import ast
import inspect
import itertools
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Mutant", "compiled", "mutants_of"]

OPERATORS = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
}
COMMUTE = (ast.Add, ast.Mult, ast.BitAnd)  # numbers; products of matrices do not
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
NEIGHBOURS = {  # functions and methods that are taken for each other
    **{"sqrt": ("square", "log1p"), "square": ("sqrt", "abs"), "exp": ("expm1", "log"), "expm1": ("exp",)},
    **{"log": ("log1p", "exp", "log2"), "log1p": ("log", "expm1"), "logit": ("log", "sigmoid")},
    **{"sum": ("mean", "prod"), "mean": ("sum", "median"), "prod": ("sum", "mean"), "std": ("var",), "var": ("std",)},
    **{"cumprod": ("cumsum",), "cumsum": ("cumprod",), "min": ("max",), "max": ("min",)},
    **{"minimum": ("maximum",), "maximum": ("minimum",), "cos": ("sin",), "sin": ("cos",), "tan": ("tanh", "sin")},
    **{"atan": ("tanh", "asin"), "acos": ("asin", "atan"), "tanh": ("atan", "sigmoid", "sin")},
    **{"softmax": ("log_softmax", "sigmoid"), "sigmoid": ("tanh",), "logsumexp": ("sum", "amax")},
    **{"randn": ("rand",), "normal_": ("uniform_", "exponential_"), "ones": ("zeros",), "zeros": ("ones",)},
    **{"ones_like": ("zeros_like",), "zeros_like": ("ones_like",), "eye": ("ones",)},
    **{"det": ("slogdet", "trace"), "trace": ("det", "sum"), "inv": ("pinv", "cholesky"), "inverse": ("pinverse",)},
    **{
        "matrix_exp": ("exp",),
        "outer": ("dot",),
        "diag": ("diagflat",),
        "flip": ("roll",),
        "repeat_interleave": ("tile",),
    },
    **{"linspace": ("logspace",), "relu": ("abs",), "abs": ("square", "relu"), "eigh": ("qr",), "slogdet": ("eigh",)},
    **{"group_norm": ("instance_norm",), "range": ("reversed",)},
}
KEPT = ("strict",)  # keywords that change no number


class Mutant(NamedTuple):
    """One change. kind: of what. label: the line before and after. source: of the whole function, changed."""

    kind: str
    label: str
    source: str


def mutants_of(function: Callable) -> tuple[Mutant, ...]:
    """All mutants of a function, each with a source of its own."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = _names(tree.body[0])
    plain = ast.unparse(tree)
    seen, found = {plain}, []
    for holder, place, node in list(_places(tree.body[0])):
        for kind, new in _changes(node, names):
            _put(holder, place, new)
            source = ast.unparse(ast.fix_missing_locations(tree))
            _put(holder, place, node)
            if source not in seen and _is_python(source):
                seen.add(source)
                found.append(Mutant(kind, f"{function.__name__}: {_difference(plain, source)}", source))
    return tuple(found)


def compiled(mutant: Mutant, function: Callable) -> Callable:
    """The mutant as a function, which sees what the function sees."""
    space = dict(function.__globals__)
    with warnings.catch_warnings(action="ignore"):  # of what Python suspects in it
        exec(compile(mutant.source, "<mutant>", "exec"), space)
    return space[function.__name__]


def _names(definition: ast.FunctionDef) -> tuple[str, ...]:
    """The arguments and local names of a function, without its generator: what may be taken for each other."""
    arguments = [argument.arg for argument in definition.args.args]
    stored = [n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return tuple(name for name in dict.fromkeys([*arguments, *stored]) if name not in ("g", "_"))


def _places(definition: ast.FunctionDef) -> Iterator[tuple]:
    """Every node that may be changed, with what holds it: a list and an index, or a node and the name of a field."""
    for parent in ast.walk(definition):
        for field, value in ast.iter_fields(parent):
            if isinstance(parent, ast.FunctionDef) and field != "body":
                continue  # its arguments stay
            if isinstance(parent, ast.Call) and field == "func" and isinstance(value, ast.Name):
                continue  # which function is called changes with the call
            if isinstance(value, list):
                yield from ((value, i, child) for i, child in enumerate(value) if isinstance(child, ast.AST))
            elif isinstance(value, ast.AST):
                yield parent, field, value


def _put(holder, place, node) -> None:
    if isinstance(holder, list):
        holder[place] = node
    else:
        setattr(holder, place, node)


def _is_python(source: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, "<mutant>", "exec")
    except SyntaxError:
        return False
    return True


def _difference(old: str, new: str) -> str:
    """The first line that was changed, and what became of it."""
    before, after = next(pair for pair in zip(old.splitlines(), new.splitlines(), strict=False) if len(set(pair)) > 1)
    return f"`{before.strip()}` became `{after.strip()}`"


# What may become of a node


def _changes(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, ast.AST]]:
    for kind in (_changes_of_statements, _changes_of_operators, _changes_of_calls, _changes_of_places):
        yield from kind(node)
    if isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value)) for value in _other_numbers(node.value))
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        yield from (("name", ast.Name(name, ast.Load())) for name in names if name != node.id)


def _other_numbers(value) -> tuple:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return tuple(dict.fromkeys(n for n in (value + 1, value - 1, 2 * value, -value, 0) if n != value))
    if isinstance(value, float):
        return tuple(dict.fromkeys(n for n in (2 * value, value / 2, value + 1, -value, 0.0) if n != value))
    return ()


def _changes_of_statements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.For, ast.Expr)):
        yield "statement", ast.Pass()
    if isinstance(node, ast.For):
        yield "statement", ast.If(ast.Constant(True), [ast.Assign([node.target], _first(node.iter)), *node.body], [])
    if isinstance(node, ast.AugAssign):
        for operator in OPERATORS.get(type(node.op), ()):
            yield "operator", ast.AugAssign(node.target, operator(), node.value)
        yield (
            "operator",
            ast.AugAssign(node.target, ast.Add() if isinstance(node.op, ast.Sub) else ast.Sub(), node.value),
        )
    if isinstance(node, ast.Return) and not isinstance(node.value, ast.Tuple):
        yield "sign", ast.Return(ast.UnaryOp(ast.USub(), node.value))
    if isinstance(node, (ast.Tuple, ast.List)) and isinstance(node.ctx, ast.Load):
        for i in range(len(node.elts) - 1):
            yield "order", type(node)(_exchanged(node.elts, i), ast.Load())


def _first(iterable: ast.expr) -> ast.expr:
    """The first of what is gone through."""
    return ast.Call(ast.Name("next", ast.Load()), [ast.Call(ast.Name("iter", ast.Load()), [iterable], [])], [])


def _exchanged(nodes: list, i: int) -> list:
    return [*nodes[:i], nodes[i + 1], nodes[i], *nodes[i + 2 :]]


def _changes_of_operators(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.BinOp):
        a, op, b = node.left, node.op, node.right
        for operator in OPERATORS.get(type(op), ()):
            yield "operator", ast.BinOp(a, operator(), b)
        yield "term", a
        yield "term", b
        if isinstance(op, ast.Sub):
            yield "term", ast.UnaryOp(ast.USub(), b)
        if isinstance(op, ast.Div):
            yield "term", ast.BinOp(ast.Constant(1), ast.Div(), b)
        if not isinstance(op, COMMUTE):
            yield "order", ast.BinOp(b, op, a)
        if isinstance(op, ast.MatMult):
            yield "transpose", ast.BinOp(_transposed(a), op, b)
            yield "transpose", ast.BinOp(a, op, _transposed(b))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for operator in COMPARISONS:
            if not isinstance(node.ops[0], operator):
                yield "comparison", ast.Compare(node.left, [operator()], node.comparators)
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transpose", node.value


def _transposed(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Attribute) and node.attr == "T" else ast.Attribute(node, "T", ast.Load())


def _changes_of_calls(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if not isinstance(node, ast.Call):
        return
    func, args, keywords = node.func, node.args, node.keywords
    called = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if args:
        yield "function", args[0]
    if isinstance(func, ast.Attribute) and not _is_module(func.value):
        yield "function", func.value
    for other in NEIGHBOURS.get(called, ()):
        changed = ast.Attribute(func.value, other, ast.Load()) if isinstance(func, ast.Attribute) else None
        if changed:
            yield "function", ast.Call(changed, args, keywords)
    for i in range(len(args)):
        if i + 1 < len(args):
            yield "order", ast.Call(func, _exchanged(args, i), keywords)
        if len(args) > 1:
            yield "argument", ast.Call(func, args[:i] + args[i + 1 :], keywords)
    for i, keyword in enumerate(keywords):
        if keyword.arg not in KEPT:
            yield "argument", ast.Call(func, args, keywords[:i] + keywords[i + 1 :])
    if called == "range":
        ends = [ast.Constant(0), *args] if len(args) == 1 else args
        for moved in itertools.product((0, 1, -1), repeat=2):
            yield "range", ast.Call(func, [_moved(end, by) for end, by in zip(ends, moved, strict=False)], [])


def _is_module(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("math", "torch")


def _moved(node: ast.expr, by: int) -> ast.expr:
    if by == 0:
        return node
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return ast.Constant(node.value + by)
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(1))


def _changes_of_places(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Indices and slices."""
    if isinstance(node, ast.Slice):
        lower, upper, step = node.lower, node.upper, node.step
        for by in (1, -1):
            yield "slice", ast.Slice(_moved(lower or ast.Constant(0), by), upper, step)
            yield "slice", ast.Slice(lower, _moved(upper, by) if upper else ast.Constant(-by), step)
        yield "slice", ast.Slice(None, upper, step)
        yield "slice", ast.Slice(lower, None, step)
        yield "slice", ast.Slice(lower, upper, None)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield "slice", node.value
        if isinstance(node.slice, (ast.Name, ast.BinOp)):
            yield from (("slice", ast.Subscript(node.value, _moved(node.slice, by), ast.Load())) for by in (1, -1))
