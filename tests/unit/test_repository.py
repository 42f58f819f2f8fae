"""The repository keeps its own promises: no address, path or secret in it; documents, locks and compose files agree."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from pipeline.settings import Settings
from pipeline.settings_table import replace_table

ROOT = Path(__file__).resolve().parents[2]

# Written with character classes so that this file does not hold what it forbids.
REGISTRY_HOST = re.compile(
    r"pypi[.]org|pythonhosted[.]org|repo1?[.]maven[.]|central[.]sonatype[.]|npmjs[.](?:org|com)|crates[.]io|"
    r"proxy[.]golang[.]org|deb[.]debian[.]org|archive[.]ubuntu[.]com|docker[.]io|(?:ghcr|quay)[.]io|anaconda[.]org"
)
LOCAL_PATH = re.compile(r"(?<![\w.$}{])/(?:work|root|home|Users|tmp)/")
CREDENTIAL = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bglpat-[\w-]{20}|\bxox[abprs]-\w"
)
ASSIGNED_SECRET = re.compile(
    r"""(?i)\b\w*(?:password|secret|api_?key|pseudonym_key|token)s?\s*[=:]\s*["']?[A-Za-z0-9+/_-]{16,}["']?\s*$"""
)


def tracked_files() -> list[Path]:
    """Return the files under version control that exist in this tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for path in (ROOT / name for name in listed.split("\0") if name) if path.is_file()]


def tracked_lines() -> Iterator[tuple[str, str]]:
    """Yield (where, line) of every tracked text file."""
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def found(pattern: re.Pattern[str], *, outside: tuple[str, ...] = ()) -> list[str]:
    return [where for where, line in tracked_lines() if not where.startswith(outside) and pattern.search(line)]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- what must not be here --------------------------------------------------------------------------------------------


def test_no_tracked_file_names_a_package_registry() -> None:
    assert found(REGISTRY_HOST) == []


def test_no_tracked_file_holds_a_path_of_somebodys_machine() -> None:
    assert found(LOCAL_PATH) == []


def test_no_tracked_file_holds_a_credential() -> None:
    assert found(CREDENTIAL) == []
    # Tests hand made-up tokens to the boards API; nothing else has a reason to.
    assert found(ASSIGNED_SECRET, outside=("tests/",)) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (REGISTRY_HOST, "https://files.python" + "hosted.org/packages/x.whl"),
        (LOCAL_PATH, "find-links = /ho" + "me/someone/wheels/"),
        (LOCAL_PATH, 'STATE = "/home' + '/someone/state"'),
        (CREDENTIAL, "-----BEGIN RSA " + "PRIVATE KEY-----"),
        (ASSIGNED_SECRET, "PARITYFLOW_PSEUDONYM_KEY" + "=6f1c0a5be2d94f7788aa"),
        (ASSIGNED_SECRET, 'token = "' + '6f1c0a5be2d94f7788aa"'),
    ],
)
def test_the_searches_find_what_they_are_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


def test_no_build_output_or_state_is_tracked() -> None:
    unwanted = re.compile(r"(^|/)(\.venv|__pycache__|\.parityflow|target|.*\.egg-info)(/|$)|\.(pyc|duckdb|wal|jar)$")
    assert [name for path in tracked_files() if unwanted.search(name := str(path.relative_to(ROOT)))] == []


# --- locks ------------------------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Return package -> (version, number of hashes) of a lock."""
    pins: dict[str, tuple[str, int]] = {}
    package = ""
    for line in read(name).splitlines():
        if match := re.match(r"([a-z0-9._-]+)==(\S+)", line):
            package = match[1]
            pins[package] = (match[2], 0)
        elif "--hash=sha256:" in line:
            version, hashes = pins[package]
            pins[package] = (version, hashes + 1)
    return pins


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~ ;\[]", text, maxsplit=1)[0].lower() for text in requirements}


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/requirements.lock"])
def test_lock_pins_every_package_with_hashes_and_names_no_source(lock: str) -> None:
    lines = [line for line in read(lock).splitlines() if line and not line.lstrip().startswith("#")]
    shape = re.compile(r"[a-z0-9._-]+==\S+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not shape.fullmatch(line)] == []
    assert [package for package, (_, hashes) in locked(lock).items() if hashes == 0] == []


def test_lock_holds_every_declared_dependency() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    run = requirement_names(project["build-system"]["requires"] + project["project"]["dependencies"])
    everything = run | requirement_names(project["dependency-groups"]["dev"])
    assert everything - set(locked("requirements.lock")) == set()
    assert run - set(locked("deploy/requirements.lock")) == set()


def test_image_runs_the_versions_that_were_tested_and_no_test_tool() -> None:
    tested, image = locked("requirements.lock"), locked("deploy/requirements.lock")
    assert {package: pin for package, pin in image.items() if tested.get(package) != pin} == {}
    assert {"pytest", "hypothesis", "mypy", "ruff"} & set(image) == set()


# --- Makefile, set-up and documents -----------------------------------------------------------------------------------

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/operations.md"]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", read(document), flags=re.MULTILINE))
    assert named - make_targets() == set()


def test_makefile_has_the_promised_targets_and_each_is_phony_and_listed_by_help() -> None:
    text = read("Makefile")
    promised = {"demo", "test", "check", "bench", "lint", "format", "clean", "help"}
    assert promised <= make_targets()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    assert make_targets() == phony
    assert promised <= set(re.findall(r"^([a-z-]+):.*## ", text, flags=re.MULTILINE))


def test_ci_runs_make_test_and_nothing_else() -> None:
    lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == "exec make test </dev/null"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


@pytest.mark.parametrize("script", [".ci/run", "deploy/setup/install.sh", "deploy/setup/lock.sh"])
def test_script_is_valid_bash_and_stops_at_the_first_error(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert "set -euo pipefail" in read(script)


def test_readme_table_of_settings_is_the_one_of_the_settings() -> None:
    assert replace_table(read("README.md")) == read("README.md"), "run: make docs"


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted(f"docs/adr/{p.name}" for p in (ROOT / "docs/adr").glob("*.md"))]
)
def test_every_relative_link_of_a_document_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(document))
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


def test_readme_lists_every_folder_of_code_and_no_missing_one() -> None:
    table = read("README.md").split("## Folders")[1]
    listed = set(re.findall(r"^\| `([a-z/]+)/`", table, flags=re.MULTILINE))
    with_content = {
        path.relative_to(ROOT).parts[0] for path in tracked_files() if len(path.relative_to(ROOT).parts) > 1
    }
    top = {folder.split("/")[0] for folder in listed}
    assert {folder for folder in with_content if not folder.startswith(".")} - top == set()
    assert {folder for folder in listed if not (ROOT / folder).is_dir()} == set()


def test_every_python_package_of_the_project_is_installed() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.relative_to(ROOT).parts[0] for path in tracked_files() if path.name == "__init__.py"}
    assert {name for name in packages if f"{name}*" not in patterns} <= {"tests", "benchmarks"}


# --- decisions --------------------------------------------------------------------------------------------------------


def decisions() -> list[Path]:
    return sorted((ROOT / "docs/adr").glob("*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:5] for path in decisions()] == [f"{n:04d}-" for n in range(1, len(decisions()) + 1)]


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.name[:4])
def test_decision_says_context_decision_consequences_and_alternatives(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]
    assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, flags=re.MULTILINE)


# --- Docker -----------------------------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "parityflow"}


def env_file(name: str) -> dict[str, str]:
    lines = [line for line in read(name).splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def command_names() -> set[str]:
    """Return the names of the command line's commands, e.g. ``history``."""
    from pipeline import cli  # noqa: PLC0415  (one import of the whole application, for these tests only)

    application = next(value for value in vars(cli).values() if isinstance(value, typer.Typer))
    return set(getattr(typer.main.get_command(application), "commands", {}))


def test_compose_runs_commands_that_exist() -> None:
    commands = [service["command"] for service in OURS.values() if service["command"] != ["--help"]]
    assert {command[0] for command in commands} - command_names() == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/operations.md", "CHANGELOG.md"])
def test_every_command_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"`parityflow ([a-z-]+)", read(document)))
    assert named - command_names() == set()


def test_every_long_running_service_has_a_health_check_and_is_waited_for() -> None:
    long_running = {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}
    assert long_running == {"kafka", "worker", "history"}
    assert {name for name in long_running if "healthcheck" not in SERVICES[name]} == set()
    for name in ("topics", "worker", "history", "cli"):
        assert SERVICES[name]["depends_on"]["kafka"] == {"condition": "service_healthy"}
    for name in ("worker", "history"):
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_ports_are_published_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    assert all("network_mode" not in service for service in SERVICES.values())


def test_services_run_without_privileges() -> None:
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(service["read_only"] for service in OURS.values())
    assert re.search(r"^USER parityflow$", read("deploy/Dockerfile"), flags=re.MULTILINE)


def test_state_outlives_a_container() -> None:
    assert set(COMPOSE["volumes"]) == {"kafka", "state"}
    assert SERVICES["kafka"]["volumes"] == [f"kafka:{env_file('deploy/compose/kafka.env')['KAFKA_LOG_DIRS']}"]
    state_dir = env_file("deploy/compose/parityflow.env")["PARITYFLOW_STATE_DIR"]
    assert SERVICES["history"]["volumes"] == [f"state:{state_dir}"]
    assert f"VOLUME {state_dir}" in read("deploy/Dockerfile")


def test_compose_and_embedded_broker_are_the_same_kafka() -> None:
    version = re.search(r"<kafka\.version>(.*)</kafka\.version>", read("deploy/kafka/pom.xml"))
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_containers_are_given_settings_that_exist() -> None:
    prefix = Settings.model_config["env_prefix"]
    known = {prefix + name.upper() for name in Settings.model_fields}
    given = set(env_file("deploy/compose/parityflow.env"))
    for service in OURS.values():
        given |= {entry.partition("=")[0] for entry in service.get("environment", [])}
    assert given - known == set()


def test_image_copies_every_package_and_only_what_its_build_context_holds() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", read("deploy/Dockerfile"), flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = {line[1:].rstrip("/") for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert sources == allowed
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert {"pipeline", "agents", "sinks", "schemas"} <= sources
