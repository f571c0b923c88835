"""The program's errors."""

from dataclasses import dataclass

from cnn.core.console import plain, redacted


@dataclass(frozen=True)
class Option:
    """A setting by its name in Python, such as test_images or final.workers.

    The message of a job shows its flag: `--test-images`, or `flag` if that is given.
    """

    name: str
    flag: str | None = None

    def __str__(self) -> str:
        return self.flag or f"--{self.name.replace('_', '-')}"


class Error(Exception):
    """The run itself failed; a job reports this in one line, and its notes (`add_note`) below it.

    Args:
        rule: What must be, then what was got. If there are `parts`, a template for `str.format`.
        parts: What the template is filled with: values, an `Option`, or another error.

    >>> error = Error("{} must be positive, but got {}", Option("image_size"), -1)
    >>> str(error)
    '--image-size must be positive, but got -1'
    >>> error.in_python = True
    >>> str(error)
    'image_size must be positive, but got -1'
    """

    exit_code = 1
    # Whether the message shows settings by their names in Python, not by a job's flags.
    in_python = False

    def __init__(self, rule: str, *parts: object) -> None:
        super().__init__(rule, *parts)
        self._rule, self._parts = rule, parts

    def __str__(self) -> str:
        return self._text(self.in_python)

    def _text(self, in_python: bool) -> str:
        def shown(part: object) -> object:
            if isinstance(part, Option) and in_python:
                return part.name
            return part._text(in_python) if isinstance(part, Error) else part

        return self._rule.format(*map(shown, self._parts)) if self._parts else self._rule

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, which would explain nothing more."""
        return one_line(self)


class InputError(Error):
    """The user's input cannot be used; nothing was done."""

    exit_code = 2


def one_line(error: BaseException) -> list[str]:
    """An error as a notebook shows it: a list of one line, and of its notes."""
    text = f"{type(error).__name__}: {plain(redacted(' '.join(str(error).split())))}"
    return [text, *notes_of(error)]


def notes_of(error: BaseException) -> list[str]:
    """The notes of an error as lines that are safe to print."""
    return [plain(redacted(note)) for note in getattr(error, "__notes__", ())]
