"""The catalogue of messages has every message of the sources, with a translation that has the same places."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"\{\d+\}")


@pytest.fixture(scope="module")
def messages(load_script):
    """The script that collects them."""
    return load_script("messages")


@pytest.fixture(scope="module")
def found(messages) -> set[str]:
    return set(messages.found())


@pytest.fixture(scope="module")
def known(messages) -> Catalog:
    return messages.catalogue()


def test_the_catalogue_has_the_messages_of_the_sources_and_no_others(messages, found, known) -> None:
    """``python scripts/messages.py`` brings it up to date."""
    entries = {str(entry.id) for entry in known if entry.id}
    assert found - entries == set()
    assert entries - found - messages.marked(known, messages.MANUAL) == set()


def test_every_message_has_a_translation_or_is_marked_as_none(messages, found, known) -> None:
    """What nobody reads has the comment ``no-message`` in the catalogue."""
    assert messages.lacking(known, found | messages.marked(known, messages.MANUAL)) == []


def test_what_is_marked_as_no_message_has_no_translation(messages, known) -> None:
    translated = {str(entry.id) for entry in known if entry.string}
    assert messages.marked(known, messages.NO_MESSAGE) & translated == set()


def test_a_translation_has_no_place_that_its_message_lacks(known) -> None:
    for entry in known:
        if entry.id and entry.string:
            assert set(PLACE.findall(entry.string)) <= set(PLACE.findall(entry.id)), entry.id


def test_a_text_without_a_translation_is_reported(messages) -> None:
    catalogue = Catalog(locale="zh")
    catalogue.add("the queue is full", "")
    catalogue.add("x = features", "", user_comments=[messages.NO_MESSAGE])
    assert messages.lacking(catalogue, {"the queue is full", "x = features", "a new message"}) == [
        "a new message",
        "the queue is full",
    ]


def test_messages_are_found_where_they_are_written(messages, tmp_path) -> None:
    source = tmp_path / "a.py"
    source.write_text('raise NotFound(f"there is no task {name}; {hint or \'look again\'}")\nx = "not a message"\n')
    assert {text for text, _ in messages.messages(source)} == {"there is no task {0}; {1}", "look again"}
