"""The rule set's JSON: read strictly, written back equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.rules import (
    SELECTORS,
    BotOptions,
    InvalidRules,
    RuleSet,
    rule_set,
    to_json,
)


def faults(value: object) -> list[str]:
    with pytest.raises(InvalidRules) as refused:
        rule_set(value)
    return refused.value.faults


def test_nothing_said_selects_nothing() -> None:
    assert rule_set({}) == RuleSet()


def test_the_contracts_example_is_read() -> None:
    rules = rule_set(
        {
            "select": ["external"],
            "only_accepted": False,
            "min_participants": None,
            "max_participants": None,
            "title_contains": [],
            "title_excludes": [],
            "domains_allow": [],
            "domains_deny": [],
            "platforms": [],
            "recurring": "all",
            "private": "record",
            "min_minutes": None,
            "max_minutes": None,
            "dedup": "meeting",
            "bot": {"name": "Notetaker", "join_early_seconds": 0, "config": {}},
        }
    )

    assert rules == RuleSet(select=frozenset({"external"}))


def test_words_and_domains_come_out_in_lower_case_and_once() -> None:
    rules = rule_set({"title_contains": ["Demo", "DEMO"], "domains_deny": ["Acme.TEST"]})

    assert rules.title_contains == ("demo",)
    assert rules.domains_deny == ("acme.test",)


@pytest.mark.parametrize("word", ["{{7*7}}", "${jndi:ldap://x}", "{0.__class__}", "(a+)+$", ".*"])
def test_patterns_and_templates_are_plain_words(word: str) -> None:
    rules = rule_set({"title_contains": [word], "bot": {"name": word}})

    assert rules.title_contains == (word,)
    assert rules.bot.name == word


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "rules"),
        ([], "rules"),
        ({"selct": []}, "selct"),
        ({"x\n\x1b[31m" + "y" * 900: 1}, "x\\n\\x1b[31m"),
        ({1: 2}, "rules"),
        ({"select": None}, "select"),
        ({"select": "all"}, "select"),
        ({"select": ["everything"]}, "select[0]"),
        ({"select": ["all", 1]}, "select[1]"),
        ({"only_accepted": 1}, "only_accepted"),
        ({"only_accepted": None}, "only_accepted"),
        ({"min_participants": -1}, "min_participants"),
        ({"min_participants": True}, "min_participants"),
        ({"min_participants": 2.5}, "min_participants"),
        ({"max_participants": 10**400}, "max_participants"),
        ({"min_participants": 3, "max_participants": 2}, "max_participants"),
        ({"min_minutes": -0.1}, "min_minutes"),
        ({"min_minutes": float("nan")}, "min_minutes"),
        ({"max_minutes": float("inf")}, "max_minutes"),
        ({"min_minutes": 30, "max_minutes": 29.5}, "max_minutes"),
        ({"title_contains": [""]}, "title_contains[0]"),
        ({"title_contains": [" "]}, "title_contains[0]"),
        ({"title_excludes": ["a\0"]}, "title_excludes[0]"),
        ({"title_excludes": ["\ud800"]}, "title_excludes[0]"),
        ({"title_contains": ["a" * 201]}, "title_contains[0]"),
        ({"title_contains": ["İ" * 101]}, "title_contains[0]"),  # two characters in lower case
        ({"title_contains": ["a"] * 201}, "title_contains"),
        ({"domains_allow": ["acme"]}, "domains_allow[0]"),
        ({"domains_allow": ["@acme.test"]}, "domains_allow[0]"),
        ({"domains_allow": ["acme..test"]}, "domains_allow[0]"),
        ({"domains_deny": ["*.acme.test"]}, "domains_deny[0]"),
        ({"domains_deny": ["-acme.test"]}, "domains_deny[0]"),
        ({"platforms": ["teams"]}, "platforms[0]"),
        ({"recurring": "last"}, "recurring"),
        ({"private": True}, "private"),
        ({"private": "decide"}, "private"),
        ({"dedup": None}, "dedup"),
        ({"bot": None}, "bot"),
        ({"bot": {"colour": "red"}}, "bot.colour"),
        ({"bot": {"name": ""}}, "bot.name"),
        ({"bot": {"name": "a\r\nb"}}, "bot.name"),
        ({"bot": {"name": "\u202egnp.exe"}}, "bot.name"),
        ({"bot": {"name": "a" * 101}}, "bot.name"),
        ({"bot": {"join_early_seconds": -1}}, "bot.join_early_seconds"),
        ({"bot": {"join_early_seconds": None}}, "bot.join_early_seconds"),
        ({"bot": {"join_early_seconds": 3_601}}, "bot.join_early_seconds"),
        ({"bot": {"config": []}}, "bot.config"),
        ({"bot": {"config": nested(33)}}, "bot.config"),
        ({"bot": {"config": {"a": "x" * 65_536}}}, "bot.config"),
        ({"bot": {"config": {"a": ["€" * 30_000]}}}, "bot.config"),
        ({"bot": {"config": {"a": [0] * 70_000}}}, "bot.config"),
        ({"bot": {"config": {"a": float("nan")}}}, "bot.config"),
        ({"bot": {"config": {"a": 10**5000}}}, "bot.config"),
        ({"bot": {"config": {"a": "\0"}}}, "bot.config"),
        ({"bot": {"config": {"a": object()}}}, "bot.config"),
    ],
)
def test_a_fault_names_its_field_in_one_short_line(value: object, path: str) -> None:
    [fault] = faults(value)

    assert fault.startswith(f"{path}")
    assert ": " in fault
    assert fault.isprintable()
    assert len(fault) < 200


def test_a_configuration_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = [endless, endless]

    assert faults({"bot": {"config": endless}}) == ["bot.config: must be at most 32 levels deep"]


def test_every_fault_is_named_at_once() -> None:
    found = faults({"select": ["x"], "dedup": 1, "bot": {"name": 2, "y": 3}, "z": 4})

    assert [fault.partition(":")[0] for fault in found] == [
        "select[0]",
        "dedup",
        "z",
        "bot.name",
        "bot.y",
    ]


def test_many_faults_are_cut_short() -> None:
    assert len(faults({f"field {number}": 0 for number in range(1_000)})) == 50


def test_the_bounds_themselves_are_allowed() -> None:
    rules = rule_set(
        {
            "title_contains": ["a" * 200],
            "platforms": ["zoom"] * 200,
            "min_minutes": 15,
            "max_minutes": 15,
            "bot": {"name": "ש" * 100, "config": nested(32), "join_early_seconds": 3_600},
        }
    )

    assert rules.platforms == ("zoom",)
    assert rules.bot.config == nested(32)


def test_the_configuration_is_a_copy() -> None:
    config: dict[str, Any] = {"a": [1]}
    rules = rule_set({"bot": {"config": config}})

    config["a"].append(2)
    to_json(rules)["bot"]["config"]["a"].append(3)  # type: ignore[index]  # plain JSON

    assert rules.bot == BotOptions(config={"a": [1]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.lists(st.text(min_size=1, max_size=60), max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "select": st.lists(st.sampled_from(SELECTORS), max_size=5),
    "only_accepted": st.booleans(),
    "min_participants": st.none() | st.integers(0, 5),
    "max_participants": st.none() | st.integers(5, 9),
    "title_contains": WORDS,
    "title_excludes": WORDS,
    "domains_allow": st.lists(st.from_regex(r"[a-zA-Z0-9]{1,9}\.test", fullmatch=True), max_size=3),
    "platforms": st.lists(st.sampled_from(["zoom", "webex"]), max_size=2),
    "recurring": st.sampled_from(["all", "none", "first"]),
    "private": st.sampled_from(["record", "skip"]),
    "max_minutes": st.none() | st.floats(0, 1_000),
    "dedup": st.sampled_from(["meeting", "company", "calendar"]),
    "bot": st.fixed_dictionaries({}, optional={"config": st.dictionaries(st.text(), JSON, max_size=3)}),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_rules_written_as_json_are_read_back_equal(value: dict[str, Any]) -> None:
    try:
        rules = rule_set(value)
    except InvalidRules:
        return

    assert rule_set(json.loads(json.dumps(to_json(rules)))) == rules


@given(st.one_of(JSON, st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))))
def test_any_json_is_read_or_refused_with_its_faults(value: object) -> None:
    found: list[str] = []
    try:
        rule_set(value)
    except InvalidRules as refused:
        found = refused.faults or [""]

    assert all(fault and fault.isprintable() for fault in found)
