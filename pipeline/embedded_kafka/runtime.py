"""What the embedded broker runs on: a Java that is new enough, and Kafka's jars, which Maven fetches once."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from pipeline.errors import TerminalError
from pipeline.supervision.private_files import make_private_folder

OLDEST_JAVA = 17  # Kafka 4's server classes are compiled for it
KAFKA_FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kafka"
LOG_CONFIGURATION = KAFKA_FOLDER / "log4j2.xml"

_OR_A_CLUSTER = "or set PARITYFLOW_BOOTSTRAP_SERVERS to a Kafka that runs already, e.g. kafka1:9092"
_GET_JAVA = "apt-get install openjdk-17-jre-headless on Debian and Ubuntu, brew install openjdk@17 on macOS"
_GET_MAVEN = "apt-get install maven on Debian and Ubuntu, brew install maven on macOS"
_MAVEN_SECONDS = 900  # a slow line needs minutes for 43 MB; longer than this is no progress


class JavaMissingError(TerminalError):
    """There is no Java that can run the embedded broker."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"the embedded Kafka broker needs Java {OLDEST_JAVA} or newer, and {found}: install it "
            f"({_GET_JAVA}; JAVA_HOME decides if there are several), {_OR_A_CLUSTER}"
        )


class MavenMissingError(TerminalError):
    """The jars are not there yet and there is no Maven to fetch them."""

    def __init__(self) -> None:
        super().__init__(
            "the embedded Kafka broker's jars are not here yet and fetching them needs Maven, which was not "
            f"found: install it ({_GET_MAVEN}), {_OR_A_CLUSTER}"
        )


class JarsUnavailableError(TerminalError):
    """Maven was asked for Kafka's jars and did not deliver them."""

    def __init__(self, pom: Path, reason: str) -> None:
        self.pom = pom
        self.reason = reason
        super().__init__(
            f"Maven could not fetch the embedded Kafka broker's jars of {pom}: {reason}. Check the network "
            f"and Maven's settings (a mirror or proxy belongs into Maven's settings.xml), {_OR_A_CLUSTER}"
        )


def find_java() -> Path:
    """Return the Java to use: the one of ``JAVA_HOME``, else the first on the path.

    Raises:
        JavaMissingError: none, one that does not run, or one older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None:
        raise JavaMissingError("no java command was found")
    try:
        answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        raise JavaMissingError(f"{found} does not run" + (f" (JAVA_HOME is {home})" if home else "")) from None
    version = java_major_version(answer.stderr + answer.stdout) if answer.returncode == 0 else None
    if version is None:
        raise JavaMissingError(f"{found} does not say its version")
    if version < OLDEST_JAVA:
        raise JavaMissingError(f"{found} is Java {version}")
    return Path(found)


def java_major_version(text: str) -> int | None:
    """Read the major version out of what ``java -version`` prints.

    >>> java_major_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> java_major_version('java version "1.8.0_392"')
    8
    >>> java_major_version("The operation couldn't be completed. Unable to locate a Java Runtime.") is None
    True
    """
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match.group(1)) if match else None


def kafka_jars(state_dir: Path, folder: Path = KAFKA_FOLDER) -> Path:
    """Return the folder of Kafka's jars, fetched by Maven on first use.

    They are kept in ``deploy/kafka/target`` of a checkout and in the state folder of an installed
    application, in a folder named after the pom's hash: a new version is fetched, a half-fetched folder never
    used.

    Args:
        state_dir: the state folder.
        folder: where the pom is; ``deploy/kafka`` of this project.

    Raises:
        MavenMissingError: they must be fetched and there is no Maven.
        JarsUnavailableError: Maven failed, or this installation carries no pom.
    """
    pom = folder / "pom.xml"
    if not pom.exists():
        raise JarsUnavailableError(pom, "the file is not part of this installation")
    is_checkout = (folder.parents[1] / "pyproject.toml").exists()
    home = folder / "target" if is_checkout else state_dir.resolve() / "kafka"
    jars = home / f"jars-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if jars.exists():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise MavenMissingError
    draft = make_private_folder(home) / f"{jars.name}.{os.getpid()}.part"
    try:
        _fetch(maven, pom, draft)
        if not jars.exists():  # another process may have been faster
            draft.rename(jars)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return jars


def _fetch(maven: str, pom: Path, jars: Path) -> None:
    argv = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-Djars.directory={jars}"]
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=_MAVEN_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise JarsUnavailableError(pom, f"it did not finish within {_MAVEN_SECONDS} seconds") from None
    if answer.returncode != 0 or not list(jars.glob("kafka_*.jar")):
        errors = [line for line in answer.stdout.splitlines() if line.startswith("[ERROR]")]
        raise JarsUnavailableError(pom, (errors or ["it left no jars"])[0].removeprefix("[ERROR]").strip())
