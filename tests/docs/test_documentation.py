from __future__ import annotations

import re
import tomllib
from inspect import Parameter, signature
from pathlib import Path

import pytest
from benchmarks import page as performance
from typer.main import get_command
from typer.testing import CliRunner

from muster.config import TrialConfig
from muster.losses import LOSSES
from muster.models import ARCHITECTURES
from muster.settings import COMPOSE_ONLY, variables
from muster.space import parse_space
from muster_cli.commands import app
from muster_db.pruning import PRUNERS
from muster_db.samplers import SAMPLERS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "worker" / "README.md", ROOT / "db" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [name for name in [*variables(), *COMPOSE_ONLY] if f"`{name}`" not in text] == []


def test_every_field_and_registry_entry_of_a_search_space_is_documented() -> None:
    text = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    names = {*TrialConfig.model_fields, *ARCHITECTURES, *LOSSES} - {"seed"}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_sampler_and_pruner_is_documented() -> None:
    text = (ROOT / "docs" / "searching.md").read_text(encoding="utf-8")
    assert [name for name in [*SAMPLERS, *PRUNERS] if f"`{name}`" not in text] == []


def test_every_option_of_an_architecture_is_documented() -> None:
    text = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    options = {
        name
        for architecture in ARCHITECTURES.values()
        for name, parameter in signature(architecture).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    assert [name for name in sorted(options) if f"`{name}`" not in text] == []


def test_the_defaults_of_every_option_are_listed_as_they_are() -> None:
    text = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    table = text[text.index("## Options and their defaults") :]
    listed = {
        name: tomllib.loads("\n".join(re.findall(r"`(\w+ = [^`]+)`", options)))
        for name, options in re.findall(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.MULTILINE)
    }
    theirs = {"dropout", "weight"}  # not options: a field of the space, and the class weights
    assert listed == {
        name: {
            option: parameter.default
            for option, parameter in signature(entry).parameters.items()
            if parameter.kind is Parameter.KEYWORD_ONLY and option not in theirs
        }
        for name, entry in {**ARCHITECTURES, **LOSSES}.items()
    }


def test_the_search_space_in_the_docs_is_valid() -> None:
    text = (ROOT / "docs" / "search-spaces.md").read_text(encoding="utf-8")
    for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL):
        assert parse_space(tomllib.loads(block), place="docs/search-spaces.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_muster_command_in_a_page_exists_with_its_options(page: Path) -> None:
    unknown = []
    # A comment, a pipe or another command ends what belongs to this one. A path that ends in
    # muster, a project (-p) or a database of that name is no call.
    calls = re.findall(r"(?<!-p )(?<!/)\bmuster ((?:[a-z]|--)[^`\n#|&;]*)", _code_of(page))
    calls += re.findall(r"\.venv/bin/muster ((?:[a-z]|--)[^`\n#|&;]*)", _code_of(page))
    for call in calls:
        words = call.split()
        help_text = _help(words)
        if help_text is None:
            unknown.append(call)
            continue
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        unknown += [f"{call}: {option}" for option in options if option not in help_text]
    assert unknown == []


def _code_of(page: Path) -> str:
    """Shell blocks and inline code of a page, where commands stand."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash)?\n(.*?)```", text, flags=re.DOTALL)
    inline = re.findall(r"`(muster [^`\n]+)`", text)
    return "\n".join([*blocks, *inline])


def _help(words: list[str]) -> str | None:
    """Help of the command that these words call, or None where there is no such command."""
    command = get_command(app)
    path: list[str] = []
    for word in words:
        known = getattr(command, "commands", None)
        if known is None or word.startswith("--"):
            break
        if word not in known:
            return None
        command = known[word]
        path.append(word)
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    return result.output if result.exit_code == 0 else None


def test_the_page_of_figures_says_what_the_results_say() -> None:
    text = performance.PAGE.read_text(encoding="utf-8")
    assert performance.filled(text) == text, "run `python -m benchmarks.page`"


def test_every_table_of_the_page_of_figures_is_one_of_a_benchmark(tmp_path: Path) -> None:
    text = performance.PAGE.read_text(encoding="utf-8")
    names = {found["name"] for found in performance.BLOCK.finditer(text)}
    assert names == {*performance.BLOCKS, "scale.chart"}
    unmeasured = performance.filled(text, tmp_path)
    assert unmeasured.count("Not measured yet") == len(performance.BLOCKS)
