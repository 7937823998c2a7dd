"""What runs: the engine, what comes in, what operators ask for, the pages and the command line."""


class OperatorError(Exception):
    """Something that an operator can put right. The message says what is wrong, and what to do about it.

    The command line prints it without a traceback, and ends with `exit_code`.
    """

    exit_code = 1
