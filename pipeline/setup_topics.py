"""``parityflow topics apply|check``: every topic, the first epoch, and the genesis record of each state partition."""

from pipeline.codec import Codec, LocalResolver
from pipeline.counting.epochs import FIRST_EPOCH, NoEpochError, announce_epoch, begin_epoch, current_epoch
from pipeline.settings import Settings
from pipeline.topics import admin_client, apply_topics, changelog_spec, check_topics, topic_specs


def apply_all(settings: Settings) -> list[str]:
    """Create what is missing and return the names of new topics; a second run changes nothing.

    Raises:
        BrokerUnreachableError: no broker answers.
        TopicsDifferError: a topic has another number of partitions.
    """
    bootstrap = settings.bootstrap()
    admin, codec = admin_client(bootstrap), Codec(LocalResolver.load())
    specs = topic_specs(settings.partitions, settings.input_retention_days)
    created = apply_topics(admin, bootstrap, specs, settings.replication)
    try:
        epoch = current_epoch(bootstrap, codec).epoch
    except NoEpochError:
        epoch = FIRST_EPOCH
        changelog = changelog_spec(epoch, settings.partitions)
        created += apply_topics(admin, bootstrap, [changelog], settings.replication)
        begin_epoch(admin, bootstrap, codec, epoch, settings.partitions)
        announce_epoch(bootstrap, codec, epoch, {})
    return created


def check_all(settings: Settings) -> list[str]:
    """Return in words what differs from what this version needs."""
    bootstrap = settings.bootstrap()
    admin, codec = admin_client(bootstrap), Codec(LocalResolver.load())
    problems = check_topics(admin, bootstrap, topic_specs(settings.partitions, settings.input_retention_days))
    if problems:
        return problems
    epoch = current_epoch(bootstrap, codec).epoch
    return check_topics(admin, bootstrap, [changelog_spec(epoch, settings.partitions)])
