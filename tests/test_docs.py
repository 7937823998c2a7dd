"""The documentation is kept true: its commands, links, names of tests, settings and snippets are those that exist."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from agents.enrich import read_webhook
from models.metronome import InvoiceFinalized
from simulators.kafka.embedded import embedded_broker
from stream.cli.config import every_setting
from stream.cli.reference import commands, examples_of, reference
from stream.kafka.admin import create_by_asking
from stream.settings import Settings
from stream.topics import TABLES, changelog, topic_names
from tests import BOUND_SECONDS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_OURS = [page for page in PAGES if page.parent.name != "vendors"]  # the others name files and words of other projects

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
TEST = re.compile(r"(?P<file>tests/[\w/]+\.py)::(?P<name>\w+)")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of these languages ("" is no language)."""
    return [textwrap.dedent(each["body"]) for each in FENCE.finditer(page.read_text()) if each["language"] in languages]


def inline(page: Path) -> list[str]:
    return INLINE.findall(FENCE.sub("", page.read_text()))


def shown_commands(page: Path) -> Iterator[str]:
    """Each line or inline piece that a reader might type."""
    for block in blocks(page, "", "toml"):
        yield from block.splitlines()
    yield from inline(page)


def pages_with(text: str) -> list[Path]:
    return [page for page in PAGES if text in page.read_text()]


def slug(heading: str) -> str:
    """The anchor of a heading, as the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(each) for each in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(FENCE.sub("", page.read_text())):
        target, _, anchor = link["target"].partition("#")
        if target.startswith("https:"):
            continue
        file = page if not target else page.parent / target
        assert file.exists(), f"{page.name}: {link['target']}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {link['target']}"


@pytest.mark.parametrize("page", OF_OURS, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = [
        each
        for each in inline(page)
        if re.fullmatch(r"(models|agents|stream|simulators|tests|benchmarks)/[\w/.]*", each)
    ]
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {each["target"].partition("#")[0] for each in LINK.finditer((ROOT / "README.md").read_text())}
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")} <= linked


@pytest.mark.parametrize("page", pages_with("make "), ids=lambda page: page.name)
def test_make_targets_that_are_shown_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {line.split()[1] for line in shown_commands(page) if re.match(r"make [a-z]", line)}
    assert shown <= targets


def test_the_readme_shows_the_targets_that_a_reader_needs() -> None:
    shown = {line.split()[1] for line in shown_commands(ROOT / "README.md") if line.startswith("make ")}
    assert {"demo", "test", "check", "kafka", "bench"} <= shown


@pytest.mark.parametrize("page", pages_with("metronome-qbo "), ids=lambda page: page.name)
def test_commands_that_are_shown_exist_with_their_options(page: Path) -> None:
    known = commands()
    for line in shown_commands(page):
        for name, options in invocations(line):
            assert name in known, f"{page.name}: {line}"
            accepted = {option for each in known[name].params for option in [*each.opts, *each.secondary_opts]}
            assert set(options) <= accepted, f"{page.name}: {line}"


def invocations(line: str) -> Iterator[tuple[str, list[str]]]:
    """Each `metronome-qbo NAME …` of a line, and each `docker compose run … SERVICE NAME …`, with its --options."""
    for match in re.finditer(r"(?:^|[ (])(?:metronome-qbo|compose run .*?worker) (?P<rest>[a-z][^)]*)", line):
        words = shlex.split(match["rest"], comments=True)
        yield words[0], [word for word in words[1:] if word.startswith("-") and word != "-"]


def test_an_unknown_command_or_option_would_be_found() -> None:
    assert list(invocations("metronome-qbo worker --config x.toml")) == [("worker", ["--config"])]
    assert list(invocations("docker compose run --rm -p 1:1 worker connect --no-browser")) == [
        ("connect", ["--no-browser"])
    ]
    assert list(invocations('KEYS="$(metronome-qbo key)"')) == [("key", [])]


def test_every_command_is_in_the_readme() -> None:
    shown = {name for line in shown_commands(ROOT / "README.md") for name, _ in invocations(line)}
    assert shown >= set(commands())


def test_commands_md_is_what_the_commands_say() -> None:
    """Else run: python -m stream.cli.reference > docs/commands.md"""
    assert (ROOT / "docs" / "commands.md").read_text() == reference()


@pytest.mark.parametrize("name", commands())
def test_every_command_has_an_example_of_itself(name: str) -> None:
    examples = examples_of(commands()[name])
    assert examples
    assert all(name in [used for used, _ in invocations(example)] for example in examples)


@pytest.mark.parametrize("page", OF_OURS, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    keys = {setting.key for setting in every_setting()}
    variables = {setting.variable for setting in every_setting()}
    sections = {key.partition(".")[0] for key in keys if "." in key}
    for text in inline(page):
        name = text.split(" ")[0]
        if re.fullmatch(r"[a-z]+\.[a-z_]+", name) and name.partition(".")[0] in sections and not is_a_topic(name):
            assert name in keys, f"{page.name}: {text}"
    for variable in re.findall(r"METRONOME_QBO_[A-Z]+__[A-Z_]*[A-Z]", page.read_text()):
        assert variable in variables, f"{page.name}: {variable}"


def is_a_topic(name: str) -> bool:
    return name in topic_names(Settings.model_construct()).all()


def test_the_settings_of_the_readme_hold() -> None:
    [example] = blocks(ROOT / "README.md", "toml")
    settings = Settings.model_validate(tomllib.loads(example))
    assert settings.environment == "production"
    assert settings.routing.default_realm == "9341452812345678"


def test_kafka_md_names_every_topic_and_every_changelog() -> None:
    named = inline(ROOT / "docs" / "kafka.md")
    settings = Settings.model_construct()
    assert set(topic_names(settings).all()) <= set(named)
    assert changelog(settings, next(iter(TABLES))) in named
    assert {f"-{table}-" for table in list(TABLES)[1:]} <= set(named)


def test_tests_that_are_named_as_evidence_exist() -> None:
    named = list(TEST.finditer((ROOT / "docs" / "evidence.md").read_text()))
    assert len(named) >= 8
    for each in named:
        assert f"def {each['name']}(" in (ROOT / each["file"]).read_text(), each[0]


@pytest.mark.parametrize("page", pages_with("from aiokafka"), ids=lambda page: page.name)
async def test_the_three_lines_of_python_put_the_webhook_of_kafka_md_on_the_topic(page: Path) -> None:
    [snippet] = blocks(page, "python")
    [body] = blocks(ROOT / "docs" / "kafka.md", "json")
    webhook, topic = body.strip().encode(), "metronome.webhooks"
    assert len(snippet.splitlines()) == 3
    assert "localhost:9092" in snippet
    with embedded_broker() as address:
        await create_by_asking(address, [topic], timeout_seconds=BOUND_SECONDS)
        await asyncio.wait_for(coroutine_of(snippet.replace("localhost:9092", address), webhook), BOUND_SECONDS)
        async with AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            record = await asyncio.wait_for(consumer.getone(), BOUND_SECONDS)
    assert (record.key, record.value, record.headers) == (None, webhook, ())
    assert isinstance(read_webhook(record.value), InvoiceFinalized)


def coroutine_of(snippet: str, webhook: bytes) -> asyncio.Future[None]:
    """The snippet as the body of a coroutine in which `webhook` is what the text says."""
    names: dict[str, object] = {}
    exec(f"async def run(webhook):\n{textwrap.indent(snippet, '    ')}", names)
    return asyncio.ensure_future(names["run"](webhook))  # type: ignore[operator]


@pytest.mark.parametrize("listed", ["requirements.in", "requirements-dev.in"])
def test_every_direct_dependency_has_its_reason(listed: str) -> None:
    documented = documented_dependencies()
    assert [name for name in direct_dependencies(listed) if name not in documented] == []


def test_no_reason_is_left_of_a_dependency_that_is_gone() -> None:
    direct = [*direct_dependencies("requirements.in"), *direct_dependencies("requirements-dev.in")]
    assert sorted(documented_dependencies()) == sorted(direct)


def test_the_package_asks_for_what_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[=><]", each)[0] for each in project["dependencies"]}
    assert asked == set(direct_dependencies("requirements.in"))


def documented_dependencies() -> list[str]:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    return re.findall(r"^\| `([\w-]+)` \| \S.{10,} \| \S.+ \|$", page, re.MULTILINE)


def direct_dependencies(listed: str) -> list[str]:
    lines = [line for line in (ROOT / listed).read_text().splitlines() if line and line[0].isalpha()]
    return [re.split(r"[=><]", line)[0] for line in lines]


def test_the_image_reads_the_settings_file_that_compose_mounts() -> None:
    [mounted] = re.findall(r":-\./deploy/metronome-qbo\.toml\}:(\S+):ro", (ROOT / "docker-compose.yml").read_text())
    assert f"METRONOME_QBO_CONFIG={mounted}\n" in (ROOT / "Dockerfile").read_text()


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version


LOCAL_TO_A_MACHINE = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|tmp/\w+)/"),
    "a package index": re.compile(
        r"(?:--(?:extra-)?index-url\b|pythonhosted\.org|pypi\.org|registry\.npmjs|repo1?\.maven)"
    ),
}


def test_no_file_names_a_path_of_one_machine_or_a_package_index() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {what}"
        for file in text_files()
        if file != Path(__file__)
        for what, pattern in LOCAL_TO_A_MACHINE.items()
        if pattern.search(file.read_text(errors="replace"))
    ]
    assert found == []


def text_files() -> list[Path]:
    """What version control holds or would take, without binary files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True, timeout=BOUND_SECONDS,
    )  # fmt: skip
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()[:8000]]


def test_headings_go_down_one_level_at_a_time() -> None:
    """A reader's outline has no holes."""
    for page in PAGES:
        levels = [len(each) for each in re.findall(r"^(#+) ", FENCE.sub("", page.read_text()), re.MULTILINE)]
        assert levels[0] == 1, page.name
        assert all(after <= before + 1 for before, after in pairwise(levels)), page.name
