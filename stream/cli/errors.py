"""How an error leaves a command: what an operator can put right as a message, a fault of this program as a traceback.

This is the only place where the command line catches them: a command raises OperatorError, or lets it pass.
"""

from typing import Any

import typer
from typer.core import TyperCommand

from stream import OperatorError

from .common import EXIT_TROUBLE, err


class Command(TyperCommand):
    """A command that prints what an operator can put right in red on standard error, and ends with its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            text, exit_code = explained
            err.print(text, style="red", markup=False, soft_wrap=True)
            raise typer.Exit(exit_code) from None


def explain(error: Exception) -> tuple[str, int] | None:
    """What to print, and the exit code; None for a fault of this program.

    Kafka's own errors are OperatorErrors by the time they leave `stream/kafka/`.
    """
    from agents.clients.failures import Failure  # imported here, because `--help` would have to wait for them
    from stream.settings import SettingsError

    match error:
        case SettingsError():
            return f"settings: {error}", error.exit_code
        case OperatorError():
            return str(error), error.exit_code
        case Failure():
            return str(error), EXIT_TROUBLE
        case BrokenPipeError():
            return None  # who reads our output wants no more of it: Typer ends quietly
        case OSError() if error.strerror:  # one without is not the system's, such as a TimeoutError of our own
            if error.filename is None:
                return str(error), EXIT_TROUBLE
            return f"{error.filename}: {error.strerror}. Is the path right, and may this program use it?", EXIT_TROUBLE
    return None
