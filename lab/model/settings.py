"""Impairments from the command line: `delay=20ms loss=1% 'burst={loss: 1%, mean: 3}'`.

Each word is one key of `impair` in a topology, with its value as it would stand there. Messages name the word in place
of a line.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from lab.errors import UserInputError
from lab.model.errors import Problem, TopologyError, did_you_mean
from lab.model.explain import keys_of, problems_of
from lab.model.impairment import Impair
from lab.model.yaml_source import Document, KeyPath, Mark, parse


def parse_settings(words: Sequence[str]) -> Impair:
    """What the words say. Files are looked for in the current directory. Raises UserInputError with all that is
    wrong."""
    values: dict[str, object] = {}
    marks: dict[KeyPath, Mark] = {}
    problems: list[Problem] = []
    for number, word in enumerate(words):
        key, _, text = word.partition("=")
        try:
            _check_key(word, key, text, values, words[number - 1] if number else "")
            values[key] = _value(text)
        except UserInputError as error:
            problems.append(Problem("", number, 0, error.message, error.hint))
        marks[(key,)] = Mark(number, 0)
    document = Document("settings", values, {(): Mark(0, 0), **marks}, {})
    try:
        impair = Impair.model_validate(values, context=document)
    except ValidationError as error:
        problems += problems_of(error, document)
    if not problems:
        return impair
    raise _together(words, sorted(problems, key=lambda problem: problem.line))


def _check_key(word: str, key: str, text: str, before: dict[str, object], previous: str) -> None:
    if "=" not in word and "=" in previous and key not in keys_of(Impair):
        raise UserInputError(
            f"{word!r} is no KEY=VALUE", hint=f"values of several words in quotes: '{previous} {word}'"
        )
    if key not in keys_of(Impair):
        raise UserInputError(f"there is no setting {key!r}", hint=did_you_mean(key, keys_of(Impair)))
    if "=" not in word or not text.strip():
        raise UserInputError(f"{key!r} has no value", hint=f"{key}=VALUE, or {key}=none to turn it off")
    if key in before:
        raise UserInputError(f"{key!r} is given twice", hint="leave one out")


def _value(text: str) -> object:
    try:
        document = parse(text, "")
    except TopologyError as error:
        raise UserInputError(error.problems[0].message, hint=error.problems[0].hint) from None
    if document.problems:
        raise UserInputError(document.problems[0].message, hint=document.problems[0].hint)
    return document.data


def _together(words: Sequence[str], problems: Sequence[Problem]) -> UserInputError:
    """One problem has its hint as any error; of several, each stands with its own."""
    lines = [f"{words[problem.line]}: {problem.message}" for problem in problems]
    if len(problems) == 1:
        return UserInputError(lines[0], hint=problems[0].hint)
    hints = [f"\n    hint: {problem.hint}" if problem.hint else "" for problem in problems]
    return UserInputError("\n".join(line + hint for line, hint in zip(lines, hints, strict=True)))
