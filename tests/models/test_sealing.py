"""Sealed values open with a configured key, in the place they were sealed for, and nowhere else."""

from __future__ import annotations

from uuid import uuid4

import pytest

from models.sealing import CannotOpen, Vault, place

OLD, NEW = b"o" * 32, b"n" * 32
HERE = place("slots", "meeting_url", uuid4())


def test_what_was_sealed_opens_in_its_place() -> None:
    vault = Vault([NEW])

    assert vault.open(vault.seal("zoom.us/j/1?pwd=x", place=HERE), place=HERE) == "zoom.us/j/1?pwd=x"


@pytest.mark.parametrize(
    "elsewhere",
    [
        place("slots", "meeting_url", uuid4()),
        HERE.replace("meeting_url", "title"),
        HERE.replace("slots", "calendar_events"),
        "",
    ],
    ids=["another row", "another column", "another table", "no place"],
)
def test_a_value_copied_elsewhere_does_not_open(elsewhere: str) -> None:
    vault = Vault([NEW])
    sealed = vault.seal("secret", place=HERE)

    with pytest.raises(CannotOpen):
        vault.open(sealed, place=elsewhere)


def test_a_changed_value_does_not_open() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("secret", place=HERE)

    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(CannotOpen):
            vault.open(bytes(changed), place=HERE)


def test_during_a_rotation_old_values_open_and_new_ones_are_sealed_with_the_new_key() -> None:
    sealed = Vault([OLD]).seal("secret", place=HERE)
    rotating = Vault([NEW, OLD])

    assert rotating.open(sealed, place=HERE) == "secret"
    assert not rotating.is_current(sealed)
    assert rotating.is_current(rotating.seal("secret", place=HERE))
    with pytest.raises(CannotOpen):
        Vault([NEW]).open(sealed, place=HERE)


def test_the_same_text_is_never_sealed_the_same() -> None:
    vault = Vault([NEW])

    assert vault.seal("secret", place=HERE) != vault.seal("secret", place=HERE)


def test_no_message_shows_what_was_sealed_or_the_keys() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("hunter2hunter2", place=HERE)

    with pytest.raises(CannotOpen) as cannot:
        vault.open(sealed, place="elsewhere")

    assert "hunter2" not in f"{cannot.value}{vault!r}"
    assert NEW.decode() not in f"{cannot.value}{vault!r}"
