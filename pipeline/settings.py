"""Settings: read once in the command line from ``PARITYFLOW_*`` variables (or ``_FILE`` secrets) and passed down."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import TerminalError


class BrokerUnknownError(TerminalError):
    """No broker address is configured and no embedded broker has left one."""

    def __init__(self, broker_file: Path) -> None:
        self.broker_file = broker_file
        super().__init__(
            f"no Kafka address: {broker_file} does not exist. Start the embedded broker (parityflow up, or "
            "parityflow broker), or set PARITYFLOW_BOOTSTRAP_SERVERS to your cluster, e.g. kafka1:9092,kafka2:9092"
        )


class Settings(BaseSettings):
    """Everything that can be set from outside; each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="PARITYFLOW_", frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, given: Any) -> Any:
        """Take ``PARITYFLOW_<NAME>_FILE`` as the file that holds the value, for secrets mounted by an orchestrator."""
        for name in cls.model_fields:
            file = os.environ.get(f"PARITYFLOW_{name.upper()}_FILE")
            if file and name not in given:
                text = Path(file).read_text().strip()
                given[name] = json.loads(text) if name == "boards_tokens" else text
        return given

    state_dir: Path = Field(
        Path(".parityflow"), description="folder of the broker's data, the history file and sockets"
    )
    bootstrap_servers: str | None = Field(None, description="Kafka addresses; unset: the embedded broker's")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of every topic; fixed within an epoch")
    replication: int = Field(1, ge=1, le=7, description="copies of each partition; 3 on a cluster")
    timezone: str = Field("Europe/London", description="time zone whose days are counted")
    session_timeout_seconds: float = Field(15, ge=2, description="a silent worker loses its partitions after this long")
    log_level: str = Field("info", description="debug, info, warning or error")
    broker_port: int = Field(0, description="port of the embedded broker; 0: a free one")
    boards_host: str = Field("127.0.0.1", description="address that the boards API listens on")
    boards_port: int = Field(8088, description="port of the boards API; 0: a free one")
    boards_tokens: dict[str, str] = Field(default_factory=dict, description="bearer token of each audience, as JSON")
    pseudonym_key: SecretStr | None = Field(
        None, description="key that replaces personal ids; unset: ids pass as they are"
    )
    input_retention_days: int = Field(
        30, ge=1, description="how long Kafka keeps the input log; the archive keeps it on"
    )

    @property
    def broker_file(self) -> Path:
        """Where the embedded broker writes its address."""
        return self.state_dir / "broker.json"

    def bootstrap(self) -> str:
        """Return the Kafka addresses to use.

        Raises:
            BrokerUnknownError: neither configured nor left by an embedded broker.
        """
        if self.bootstrap_servers:
            return self.bootstrap_servers
        try:
            return str(json.loads(self.broker_file.read_text())["bootstrap_servers"])
        except FileNotFoundError:
            raise BrokerUnknownError(self.broker_file) from None
