"""What we rely on inside Faust and aiokafka is there, and a version without it stops the worker."""

from dataclasses import replace
from importlib.metadata import version

import pytest

from stream.engine.contract import RELIANCES, TESTED, EngineMismatch, Reliance, check_engine, mismatch
from stream.engine.faust_patches import patch_transport
from tests import ROOT


@pytest.mark.parametrize("reliance", RELIANCES, ids=lambda each: f"{each.owner.__name__}.{each.name}")
def test_the_installed_libraries_have_what_we_override_and_use_it(reliance: Reliance) -> None:
    assert mismatch(reliance) is None


def test_the_installed_versions_are_the_tested_ones_and_those_that_are_pinned() -> None:
    pinned = (ROOT / "requirements.txt").read_text()
    for name, tested in TESTED.items():
        assert version(name) == tested
        assert f"{name}=={tested} " in pinned


def test_everything_that_the_patches_override_is_listed() -> None:
    """An override that is not in the list would not be checked."""
    listed = {each.name for each in RELIANCES}
    code = patch_transport.__code__
    classes = [each for each in code.co_consts if hasattr(each, "co_consts") and "__module__" in each.co_names]
    methods = {each.co_name for owner in classes for each in owner.co_consts if hasattr(each, "co_code")}
    assert methods
    assert methods <= listed


class Renamed:
    """A library in which the method has another name, takes something else, or has lost its caller."""

    def seek_to_the_committed(self) -> None:
        self.seek_to_the_committed()

    def takes_more(self, other: int) -> None: ...


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("seek_to_committed", ("self",), "is gone"),
        ("takes_more", ("self",), "takes self, other instead of self"),
        ("takes_more", ("self", "other"), "is no longer used by"),
    ],
)
def test_another_library_stops_the_worker_and_says_why(name: str, parameters: tuple[str, ...], says: str) -> None:
    """The message names the method, the installed and the tested versions, and how to get these."""
    other = replace(RELIANCES[0], owner=Renamed, name=name, parameters=parameters, caller=Renamed.seek_to_the_committed)
    with pytest.raises(EngineMismatch) as raised:
        check_engine((*RELIANCES, other))
    for part in (f"Renamed.{name}", says, "aiokafka 0.14.0 (tested with 0.14.0)", "requirements.txt"):
        assert part in str(raised.value)
