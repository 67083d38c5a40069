"""What a learner has done so far: a small file in a folder of the user's, and a page made of it.

The folder is `$MINIDIFF_PROGRESS`, or `checks` in minidiff's folder for downloads. It holds `progress.json`, with the
last verdict on each exercise, and `unknown.jsonl`, with the answers that no check could name: a learner may post them,
so that the next one gets a better message. Nothing leaves the machine by itself. Where nothing can be written, nothing
is.
"""

import contextlib
import html
import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from minidiff.checks.records import Exercise, Explanation, Question, Verdict, summary

__all__ = ["Lesson", "folder", "lessons", "note", "progress_page", "read_progress", "write_progress"]

PROGRESS, UNKNOWN = "progress.json", "unknown.jsonl"
KEPT = 200  # unknown answers; the oldest go first
PATIENCE = 1.0  # seconds to wait for another notebook that is writing


@dataclass(frozen=True)
class Lesson:
    """A notebook with checked exercises."""

    number: int
    title: str
    exercises: tuple[Exercise | Question, ...]


def folder() -> Path:
    """Where progress is noted: `$MINIDIFF_PROGRESS`, or a folder of the user's. It need not exist."""
    named = os.environ.get("MINIDIFF_PROGRESS")
    if named:
        return Path(named)
    import pooch  # here, since it takes longer to import than all the rest

    return Path(pooch.os_cache("minidiff")) / "checks"


def note(exercise: Exercise | Question, verdict: Verdict, answer: object) -> None:
    """Note a verdict, and an answer that no check could name. An unfilled one leaves no trace. Never raises."""
    if verdict.state in ("unfilled", "unchecked"):
        return
    with contextlib.suppress(Exception):
        place = folder()
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock", timeout=PATIENCE):
            noted = read_progress()
            before = noted.get(exercise.id, {})
            noted[exercise.id] = {
                "state": verdict.state,
                "mistake": "" if verdict.state == "right" else verdict.name,
                "right": verdict.state == "right" or before.get("right") is True,
                "tries": _tries(before) + 1,
            }
            _put(place / PROGRESS, json.dumps(noted, indent=1, sort_keys=True))
            if verdict.state == "unknown":
                entry = {"exercise": exercise.id, "answer": _source(answer), "verdict": verdict.text}
                lines = [line for line in _lines(place / UNKNOWN) if line != json.dumps(entry)]
                _put(place / UNKNOWN, "\n".join([*lines, json.dumps(entry)][-KEPT:]) + "\n")


def read_progress() -> dict[str, dict]:
    """The last verdict on each exercise, by id. Empty where there is nothing, or nothing that can be read."""
    try:
        noted = json.loads((folder() / PROGRESS).read_text(encoding="utf-8"))
        return {str(id): entry for id, entry in noted.items() if isinstance(entry, dict)}
    except (OSError, ValueError, AttributeError):
        return {}


def lessons() -> Iterator[Lesson]:
    """The notebooks that have checked exercises, in order."""
    package = Path(__file__).parent
    for module in sorted(module.name for module in pkgutil.iter_modules([str(package)])):
        if module[0] == "n" and module[1:].isdecimal():
            content = importlib.import_module(f"minidiff.checks.{module}")
            checked = tuple(task for task in content.EXERCISES if not isinstance(task, Explanation))
            yield Lesson(int(module[1:]), content.TITLE, checked)


def write_progress(path: str | Path) -> Path:
    """Write the page of `progress_page` to a file, whole or not at all, and return its path. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _put(path, progress_page())
    return path


def progress_page() -> str:
    """What is right and what is left, as one page of HTML that needs nothing else: no script, no font, no network."""
    noted, course = read_progress(), list(lessons())
    total = sum(len(lesson.exercises) for lesson in course)
    right = sum(_done(noted, exercise) for lesson in course for exercise in lesson.exercises)
    parts = [f"<h1>Your progress</h1>\n<p>{_meter(right, total)}</p>"]
    for lesson in course:
        done = sum(_done(noted, exercise) for exercise in lesson.exercises)
        parts.append(f'<section aria-labelledby="n{lesson.number}">')
        parts.append(f'<h2 id="n{lesson.number}">{lesson.number:02d}. {html.escape(lesson.title)}</h2>')
        parts.append(f"<p>{_meter(done, len(lesson.exercises))}</p>\n<ul>")
        parts.extend(_row(exercise, noted.get(exercise.id, {})) for exercise in lesson.exercises)
        parts.append("</ul>\n</section>")
    unknown = len(_lines(folder() / UNKNOWN))
    if unknown:
        answers = "One answer of yours was" if unknown == 1 else f"{unknown} answers of yours were"
        parts.append(f"<p>{answers} wrong in a way that no check could name. You find them in")
        parts.append(
            f"<code>{html.escape(str(folder() / UNKNOWN))}</code>. Post that file in an issue of the course, if"
        )
        parts.append("you like: the next learner who makes the same mistake will be told what it is.</p>")
    return PAGE.replace("{content}", "\n".join(parts))


def _row(exercise: Exercise | Question, entry: dict) -> str:
    tries = _tries(entry)
    times = f", {tries} {'try' if tries == 1 else 'tries'}" if tries else ""
    kind, mark, words = "left", "○", "not started"
    if entry.get("right") is True:
        kind, mark, words = "right", "✓", f"right{times}"
    elif tries:
        kind, mark, words = "tried", "✗", f"not right yet{times}"
    mistake = str(entry.get("mistake") or "")
    if kind == "tried" and mistake not in ("", "unknown"):
        words += f"; last: {mistake}"
    return (
        f'<li class="{kind}"><span class="mark" aria-hidden="true">{mark}</span><div>'
        f"<strong>{html.escape(exercise.id)} "
        f"<code>{html.escape(exercise.name)}</code></strong><br>{html.escape(summary(exercise))}<br>"
        f'<span class="state">{html.escape(words)}</span></div></li>'
    )


def _meter(done: int, total: int) -> str:
    words = f"{done} of {total} right"
    return f'<progress value="{done}" max="{max(total, 1)}" aria-label="{words}"></progress> {words}'


def _done(noted: dict[str, dict], exercise: Exercise | Question) -> bool:
    return noted.get(exercise.id, {}).get("right") is True


def _tries(entry: dict) -> int:
    tries = entry.get("tries")
    return tries if isinstance(tries, int) and tries > 0 else 0


def _source(answer: object) -> str:
    with contextlib.suppress(Exception):
        return inspect.getsource(answer) if callable(answer) else repr(answer)
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _put(path: Path, text: str) -> None:
    """Write a file under another name, then give it its own: whoever reads it finds the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>minidiff: your progress</title>
<style>
:root { --paper: #ffffff; --ink: #1a1a1a; --soft: #595959; --right: #00603f; --tried: #8f3a00; --line: #cccccc; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #eeeeee; --soft: #b0b0b0; --right: #5fd3a6; --tried: #ffab73; --line: #44474d; }
}
body { background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 42rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
ul { list-style: none; padding: 0; }
li { border-top: 1px solid var(--line); display: flex; gap: 0.75rem; padding: 0.6rem 0; }
.mark { font-size: 1.2rem; width: 1.2rem; } .state { color: var(--soft); }
.right .mark, .right .state { color: var(--right); } .tried .mark, .tried .state { color: var(--tried); }
progress { accent-color: var(--right); height: 0.8rem; vertical-align: middle; width: min(16rem, 50%); }
</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""
