"""Where logs go: standard error, in the format of the settings (stream/logs.py)."""

import json
import subprocess
import sys

import pytest

from tests import BOUND_SECONDS, ROOT

LOGS_A_LINE = """
import logging, sys
import structlog
from stream import logs
from stream.settings import Logging, Settings
log = structlog.get_logger()
logs.configure(Settings(logging=Logging(format=sys.argv[1])))
log.warning("something_happened", at="here")
logging.getLogger("aiokafka").warning("the library speaks")
print("the answer")
"""


def run(log_format: str, shell: str = 'exec "$@"') -> subprocess.CompletedProcess[str]:
    program = ["sh", "-c", shell, "sh", sys.executable, "-c", LOGS_A_LINE, log_format]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_standard_output_is_left_to_the_command(log_format: str) -> None:
    done = run(log_format)
    assert (done.returncode, done.stdout) == (0, "the answer\n")
    lines = done.stderr.splitlines()
    assert "something_happened" in lines[0]
    assert "the library speaks" in lines[1]
    if log_format == "json":
        assert json.loads(lines[0])["at"] == "here"
        assert json.loads(lines[1])["event"] == "the library speaks"


def test_a_standard_error_that_is_closed_is_no_trouble() -> None:
    """Logs go nowhere then; least of all to standard output."""
    done = run("console", shell='exec "$@" 2>&-')
    assert (done.returncode, done.stdout) == (0, "the answer\n")


A_BAD_REQUEST = """
import logging
from aiohttp.http_exceptions import BadHttpMessage
from stream import logs
from stream.settings import Settings
logs.configure(Settings())
error = BadHttpMessage("Data after `Connection: close`: 'the body'")
logging.getLogger("aiohttp.server").error("Error handling request from %s", "::1", exc_info=error)
logging.getLogger("aiohttp.server").error("Error handling request from %s", "::2", exc_info=KeyError("ours"))
"""


def test_a_request_that_is_no_http_is_told_without_its_bytes() -> None:
    program = [sys.executable, "-c", A_BAD_REQUEST]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_SECONDS, check=True)
    assert "Error handling request from ::1: BadHttpMessage\n" in done.stderr
    assert "the body" not in done.stderr
    assert "KeyError: 'ours'" in done.stderr
