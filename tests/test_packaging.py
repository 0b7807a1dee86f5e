"""What is said about the project is true of it: requirements, package data, the README's configuration."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from edgecache.cli.main import main
from edgecache.edges.config import Redis, settings
from edgecache.edges.rulesets import shipped

OPTIONAL = {"crypto", "embedded", "regex"}
"""Extras that the package itself uses when they are there."""

ROOT = Path(__file__).parent.parent
COMPILED = os.environ.get("EDGECACHE_COMPILE") == "1"
PROMISED = {"aiocache"}  # fixed by the project; the code that uses it is still to come


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def required_by(section: str, option: str) -> set[str]:
    return {Requirement(line).name for line in setup_cfg()[section][option].strip().splitlines()}


def imported() -> set[str]:
    """Distributions that the package imports, the standard library aside."""
    names = set()
    for path in (ROOT / "edgecache").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names |= {module.partition(".")[0] for module in modules}
    known = packages_distributions()
    third_party = names - sys.stdlib_module_names - {"edgecache"}
    return {known[name][0].lower().replace("_", "-") for name in third_party}


def test_what_is_imported_is_required_and_the_other_way_round() -> None:
    required = required_by("options", "install_requires")
    optional = {name for extra in OPTIONAL for name in required_by("options.extras_require", extra)}
    assert required - PROMISED == imported() - optional


def test_every_package_is_installed_and_so_are_the_rule_sets() -> None:
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "edgecache").rglob("__init__.py")}
    assert set(setup_cfg()["options"]["packages"].split()) == packages | {"edgecache.rulesets"}
    name, _, directory = setup_cfg()["options"]["package_dir"].strip().partition(" = ")
    assert [path.stem for path in sorted((ROOT / directory).glob(setup_cfg()["options.package_data"][name]))] == [
        *shipped()
    ]


def built(program: str, **environ: str) -> str:
    """What a program prints that asks ``setup.py`` something, in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if name != "EDGECACHE_COMPILE"} | environ
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.rstrip("\n").rpartition("\n")[2]


def test_what_is_compiled_is_what_was_asked_to_be() -> None:
    for path in " ".join(setup_cfg()["compiled"].values()).split():
        module = import_module(path.removesuffix(".py").replace("/", "."))
        assert isinstance(module.__loader__, ExtensionFileLoader) == COMPILED, module.__file__


def test_nothing_is_compiled_that_nobody_asked_for() -> None:
    program = "import setuptools; from distutils.core import run_setup; print(run_setup('setup.py', stop_after='init')"
    assert built(f"{program}.has_ext_modules())") == "False"


def test_who_asks_for_it_is_told_what_a_compiled_build_takes() -> None:
    program = "import sys; sys.modules['mypyc'] = None; from setuptools.build_meta import *; print(*(%s), sep='|')"
    told = built(program % "get_requires_for_build_wheel()", EDGECACHE_COMPILE="1")
    names = {Requirement(line).name for line in told.split("|")}
    assert {"mypy"} | required_by("options", "install_requires") <= names


def test_the_demo_s_pages_are_package_data() -> None:
    data = setup_cfg()["options.package_data"]
    assert (ROOT / "edgecache" / data["edgecache"]).is_file()
    assert list((ROOT / "edgecache" / "demo").glob(data["edgecache.demo"]))


def test_the_readme_s_configuration_is_right_and_its_mistake_is_shown_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    shown = re.search(r"```\n(edgecache\.toml:.*?)```", readme, re.DOTALL)
    assert found
    assert shown
    Path("edgecache.toml").write_text(found[1], "utf-8")
    assert CliRunner().invoke(main, ["check"]).stdout == "edgecache.toml: ok\n"
    wrong = re.sub(r'memory = "256MiB".*', 'memroy = "256MiB"', found[1])
    Path("edgecache.toml").write_text(wrong, "utf-8")
    assert CliRunner().invoke(main, ["check"]).stderr == shown[1]


def test_the_settings_of_redis_are_documented_as_they_are() -> None:
    text = (ROOT / "docs" / "redis.md").read_text("utf-8")
    rows = []
    for key, setting in settings(Redis).items():
        default = getattr(Redis(), key)
        shown = "–" if default is None else f"`{setting.write(default)}`"  # noqa: RUF001 - as the page writes it
        rows.append(f"| `{key}` | {shown} | {setting.prose} |")
    assert "\n".join(rows) in text


def test_what_is_said_about_several_workers_without_redis_is_what_is_printed() -> None:
    text = (ROOT / "docs" / "redis.md").read_text("utf-8")
    shown = re.search(r"^\$ edgecache (proxy --to \S+ --workers 4)\n((?:.+\n)+?)```", text, re.MULTILINE)
    assert shown
    assert CliRunner().invoke(main, shown[1].split()).stderr == shown[2]


def test_every_target_of_the_makefile_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets
    assert re.findall(r"^([a-z-]+):.*## .", makefile, re.MULTILINE) == targets[1].split()
