"""Rules of transcripts; the plain cases are doctests of the module."""

import pytest

from sepasr_cli.corpora.text import normalise


@pytest.mark.parametrize(
    ("rule", "found", "expected"),
    [
        ("none", "  As\tit  is. ", "As it is."),
        ("upper", "O\u2019Neil, caf\u00e9 & 3 more", "O'NEIL CAFE 3 MORE"),
        ("upper", "...", ""),
        ("basic", "'Hello' rock 'n' roll, don't!", "hello rock n roll don't"),
        (
            "basic",
            "\u041f\u0440\u0438\u0432\u0435\u0442, \u4e16\u754c",
            "\u043f\u0440\u0438\u0432\u0435\u0442 \u4e16\u754c",
        ),
        ("basic", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("an4", "<s> C  M U </s>", "C M U"),
        ("wsj", 'He said \\"DOUBLE-QUOTE yes .PERIOD', "HE SAID DOUBLE QUOTE YES PERIOD"),
        ("wsj", "[door_slam>] \\<and\\> [phone_ring/] it's [/phone_ring] 'SINGLE-QUOTE", "AND IT'S SINGLE QUOTE"),
        ("wsj", "%PERCENT --DASH .POINT", "PERCENT DASH POINT"),
    ],
)
def test_rule(rule, found, expected):
    assert normalise(found, rule) == expected


@pytest.mark.parametrize("rule", ["none", "upper", "basic", "an4", "wsj"])
def test_a_rule_applied_twice_changes_nothing(rule):
    once = normalise("<s> The [tap] Cat's ,COMMA na\u00efve 22 'quoted' ++UH++ </s>", rule)
    assert normalise(once, rule) == once
