"""Prompts: what painters write means what it means in A1111's web UI."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nijimi_backend.engine.prompt.syntax import (
    BREAK,
    AdapterUse,
    choose_alternatives,
    prompt_at,
    read_prompt,
    weighted_texts,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The first six are the examples in A1111's own reader.
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("\\(literal\\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
        ("", [("", 1.0)]),
        ("a BREAK b", [("a ", 1.0), (BREAK, 1.0), (" b", 1.0)]),
        ("BREAKFAST and DAYBREAK", [("BREAKFAST and DAYBREAK", 1.0)]),
        ("time 12:30, ratio 1:2", [("time 12:30, ratio 1:2", 1.0)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("stray ) and ]", [("stray ) and ]", 1.0)]),
    ],
)
def test_brackets_weigh_words(text: str, expected: list[tuple[str, float]]) -> None:
    found = weighted_texts(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in expected]
    assert [w for _, w in found] == pytest.approx([w for _, w in expected])


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a [cat:dog:0.5]", ["a cat", "a cat", "a dog", "a dog"]),
        ("a [cat:dog:1]", ["a cat", "a dog", "a dog", "a dog"]),
        ("a [cat:0.75]", ["a ", "a ", "a ", "a cat"]),
        ("a [cat::2]", ["a cat", "a cat", "a ", "a "]),
        ("[a|b|c]", ["a", "b", "c", "a"]),
        ("[in [deep:deeper:0.5]:out:0.75]", ["in deep", "in deep", "in deeper", "out"]),
        ("[weaker]", ["[weaker]"] * 4),
        ("[(red:1.2):(blue:1.2):0.25]", ["(red:1.2)", *["(blue:1.2)"] * 3]),
        ("\\[a|b\\]", ["\\[a|b\\]"] * 4),
        ("open [a:b", ["open [a:b"] * 4),
    ],
)
def test_a_prompt_may_change_on_the_way(text: str, steps: list[str]) -> None:
    assert [prompt_at(text, step, 4) for step in range(4)] == steps


def test_adapters_are_taken_out_and_remarks_left_out() -> None:
    found = read_prompt(
        "# the first row is a remark\n"
        "a boat <lora:ink wash:0.8>, sea # and so is this\n"
        "<LORA:detail:0.5:0.25><lora:mood:te=0.1:unet=0.9><lora:plain> \\# no remark"
    )
    assert found.text == "a boat , sea \n # no remark"
    assert found.adapters == (
        AdapterUse(name="ink wash", unet_weight=0.8, te_weight=0.8),
        AdapterUse(name="detail", unet_weight=0.5, te_weight=0.25),
        AdapterUse(name="mood", unet_weight=0.9, te_weight=0.1),
        AdapterUse(name="plain", unet_weight=1.0, te_weight=1.0),
    )


def test_hypernetworks_and_lycoris_are_named_alike() -> None:
    written = read_prompt("sea <lyco:ink:0.5><hypernet:ink:0.8><Hypernet:mood>")
    assert written.text.strip() == "sea"
    found = [(use.name, use.unet_weight, use.is_hypernet) for use in written.adapters]
    assert found == [("ink", 0.5, False), ("ink", 0.8, True), ("mood", 1.0, True)]


@pytest.mark.parametrize("text", ["<lora:a:b>", "<lora::1>", "<lora:a:1:2:3>", "<lora:a:1e9>"])
def test_what_is_no_adapter_stays_text(text: str) -> None:
    found = read_prompt(text)
    assert (found.text, found.adapters) == (text, ())


def test_the_seed_chooses_among_alternatives_and_wildcards() -> None:
    lines = {"animals": ["cat", "# no animal", "{big|small} dog"]}
    text = "a __animals__ {by day|by night|}"
    seen = {read_prompt(text, seed, lambda name: lines.get(name, ())).text for seed in range(60)}
    assert seen == {
        f"a {animal} {time}"
        for animal in ("cat", "big dog", "small dog")
        for time in ("by day", "by night", "")
    }
    again = [read_prompt(text, 3, lambda name: lines.get(name, ())).text for _ in range(3)]
    assert len(set(again)) == 1


def test_a_wildcard_without_a_file_is_named() -> None:
    assert read_prompt("a __nothing__ here").missing == ("nothing",)


def test_a_wildcard_that_names_itself_ends() -> None:
    text = choose_alternatives("__a__", random.Random(1), lambda _name: ["__a__"])
    assert text == "__a__"


@given(st.text(alphabet="ab ()[]{}|:\\#_<>lora0.5BREAK\n", max_size=80), st.integers(0, 9))
def test_any_text_is_read_without_an_error(text: str, seed: int) -> None:
    found = read_prompt(text, seed, lambda _name: ["x", "{y|__z__}"])
    for step in range(3):
        pieces = weighted_texts(prompt_at(found.text, step, 3))
        assert pieces
        assert all(isinstance(weight, float) for _, weight in pieces)


@given(st.text(alphabet="abc ,.", min_size=1, max_size=60))
def test_text_without_brackets_stays_as_it_is(text: str) -> None:
    assert weighted_texts(prompt_at(read_prompt(text).text, 0, 1)) == [(text, 1.0)]
