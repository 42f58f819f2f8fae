"""Finding Java, and fetching Kafka's jars with stand-ins for Maven that are real programs."""

from pathlib import Path

import pytest

from pipeline.embedded_kafka.runtime import (
    JarsUnavailableError,
    JavaMissingError,
    MavenMissingError,
    find_java,
    kafka_jars,
)

DELIVERS = """#!/bin/sh
for argument; do case "$argument" in -Djars.directory=*) folder="${argument#*=}";; esac; done
/bin/mkdir -p "$folder" && echo jar > "$folder/kafka_2.13-test.jar"
"""
FAILS = """#!/bin/sh
/bin/mkdir -p "$(echo "$6" | /usr/bin/cut -d= -f2)"
echo '[ERROR] Failed to execute goal: Unknown host'
exit 1
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path; empty at first."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


@pytest.fixture
def kafka_folder(tmp_path: Path) -> Path:
    """An installed application's deploy/kafka: no checkout around it."""
    folder = tmp_path / "installed" / "deploy" / "kafka"
    folder.mkdir(parents=True)
    (folder / "pom.xml").write_text("<project/>")
    return folder


def install(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(script)
    program.chmod(0o755)
    return program


def test_missing_java_says_what_to_install(programs: Path) -> None:
    assert list(programs.iterdir()) == []
    with pytest.raises(JavaMissingError, match=r"openjdk-17-jre-headless.*PARITYFLOW_BOOTSTRAP_SERVERS"):
        find_java()


def test_old_java_is_named_with_its_version(programs: Path) -> None:
    java = install(programs, "java", "#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    with pytest.raises(JavaMissingError, match=f"Java 17 or newer, and {java} is Java 11"):
        find_java()


def test_java_home_without_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(JavaMissingError, match=f"JAVA_HOME is {tmp_path / 'gone'}"):
        find_java()


def test_missing_maven_says_what_to_install(programs: Path, kafka_folder: Path, fresh_state_dir: Path) -> None:
    assert list(programs.iterdir()) == []
    with pytest.raises(MavenMissingError, match=r"apt-get install maven.*PARITYFLOW_BOOTSTRAP_SERVERS"):
        kafka_jars(fresh_state_dir, kafka_folder)


def test_jars_are_fetched_once_and_then_need_no_maven(
    programs: Path, kafka_folder: Path, fresh_state_dir: Path
) -> None:
    maven = install(programs, "mvn", DELIVERS)
    jars = kafka_jars(fresh_state_dir, kafka_folder)
    maven.unlink()

    assert kafka_jars(fresh_state_dir, kafka_folder) == jars
    assert [path.name for path in jars.iterdir()] == ["kafka_2.13-test.jar"]
    assert jars.parent == fresh_state_dir / "kafka"


def test_changed_pom_is_fetched_anew(programs: Path, kafka_folder: Path, fresh_state_dir: Path) -> None:
    install(programs, "mvn", DELIVERS)
    before = kafka_jars(fresh_state_dir, kafka_folder)
    (kafka_folder / "pom.xml").write_text("<project><version>2</version></project>")
    assert kafka_jars(fresh_state_dir, kafka_folder) != before


def test_failed_fetch_shows_mavens_reason_and_leaves_nothing(
    programs: Path, kafka_folder: Path, fresh_state_dir: Path
) -> None:
    install(programs, "mvn", FAILS)
    with pytest.raises(JarsUnavailableError, match="Failed to execute goal: Unknown host"):
        kafka_jars(fresh_state_dir, kafka_folder)
    assert list((fresh_state_dir / "kafka").iterdir()) == []


def test_installation_without_the_pom_says_so(tmp_path: Path, fresh_state_dir: Path) -> None:
    with pytest.raises(JarsUnavailableError, match="not part of this installation"):
        kafka_jars(fresh_state_dir, tmp_path / "deploy" / "kafka")
