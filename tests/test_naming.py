"""The name of a mistake: patterns in, a sentence out."""

from __future__ import annotations

import json

from dojo.naming import Pattern, Sign, load, message_of, name_mistake, signs_of

USES = {"test_a": {"f"}, "test_b": {"f", "g"}, "test_c": {"g"}}


def pattern(says, functions="f", **failed):
    return Pattern(says, tuple(functions.split()), {test: Sign.of(message) for test, message in failed.items()})


COPY = pattern("you made a copy", test_a="your write was lost", test_b="not the memory of x")
SLOW = pattern("you copied when it was not needed", test_b="not the memory of x")
OTHER = pattern("g is wrong", "g", test_c="expected 1.0, got 2.0")


def name(**failed):
    return name_mistake([COPY, SLOW, OTHER], failed, USES)


def test_a_run_that_looks_like_a_mistake_gets_its_sentence():
    assert name(test_a="your write was lost", test_b="not the memory of x") == COPY.says
    assert name(test_b="not the memory of x") == SLOW.says


def test_numbers_do_not_matter_but_words_do():
    assert name(test_c="expected 1.0, got 3.5") == OTHER.says
    assert name(test_c="expected a tensor, got None") is None


def test_a_test_that_fails_in_another_way_is_another_mistake():
    assert name(test_a="your write was lost", test_b="shape: expected (2,), got ()") is None


def test_failures_of_another_function_do_not_disturb():
    assert name(test_a="your write was lost", test_b="not the memory of x", test_c="something else") == COPY.says


def test_nothing_fits_nothing_is_said():
    assert name(test_a="something else") is None
    assert name() is None
    assert name_mistake([], {"test_a": "x"}, USES) is None


def test_a_pattern_from_mnist_fits_a_run_on_the_stand_in():
    low = pattern("the labels were shuffled", **{"test_a[data]": "your net reads 11% right"})
    assert signs_of({"test_a[mnist]": "x", "test_b[3]": "x"}).keys() == {"test_a[data]", "test_b[3]"}
    for data in ("mnist", "stand-in"):
        assert name_mistake([low], {f"test_a[{data}]": "your net reads 9% right"}, USES) == low.says


def test_two_mistakes_that_look_the_same_name_neither():
    twin = pattern("another idea", test_b="not the memory of x")
    assert name_mistake([SLOW, twin], {"test_b": "not the memory of x"}, USES) is None
    same_words = pattern(SLOW.says, test_b="not the memory of x")
    assert name_mistake([SLOW, same_words], {"test_b": "not the memory of x"}, USES) == SLOW.says


def test_addresses_and_appended_values_are_left_out():
    assert Sign.of("got <f at 0x7f01>").headline == Sign.of("got <f at 0x7f99>").headline
    assert message_of("AssertionError: say\nmore\nassert 1 == 2\n + where") == "say\nmore"


def test_patterns_travel_through_json(tmp_path):
    (tmp_path / "patterns.json").write_text(json.dumps({"01_a/01_b": [COPY.as_json()]}))
    (loaded,) = load(tmp_path, "01_a/01_b")
    assert loaded == COPY
    assert load(tmp_path, "01_a/02_c") == []
    (tmp_path / "patterns.json").write_text("{")
    assert load(tmp_path, "01_a/01_b") == []


def test_the_verdict_says_it_as_a_likelihood(project):
    says = "one of the things you see when x is returned as it came"
    entry = pattern(says, "alpha", test_alpha_doubles="you did not double it").as_json()
    project.write("reference/patterns.json", json.dumps({"01_first/01_alpha": [entry]}))
    project.body("alpha", "return x")
    screen = " ".join(" ".join(project.run().outlines).split())
    assert f"This is what you see when: {says}" in screen


def test_a_sentence_that_is_on_the_screen_is_not_said_twice(project):
    entry = pattern("did not double it", "alpha", test_alpha_doubles="you did not double it").as_json()
    project.write("reference/patterns.json", json.dumps({"01_first/01_alpha": [entry]}))
    project.body("alpha", "return x")
    assert "This is what you see" not in "\n".join(project.run().outlines)
