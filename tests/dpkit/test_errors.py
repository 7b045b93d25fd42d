"""The drawn tree of exceptions is the real one."""

import re

import pytest

from dpkit import errors


def test_the_drawing_lists_every_class_with_its_builtin():
    drawn = dict(re.findall(r"─ (\w+)\s+\((\w+)\)", errors.__doc__))
    assert sorted([*drawn, "DPKitError"]) == sorted(errors.__all__)
    for name, builtin in drawn.items():
        bases = getattr(errors, name).__bases__
        assert [base.__name__ for base in bases] == ["DPKitError", builtin]


@pytest.mark.parametrize("name", errors.__all__)
def test_every_class_is_documented_and_caught_as_ours(name):
    kind = getattr(errors, name)
    assert kind.__doc__
    with pytest.raises(errors.DPKitError):
        raise kind("parameter, rule, what came, what to do")
