import pytest

from accountants import AccountingError, Relation, RelationError
from accountants.relation import as_relation


@pytest.mark.parametrize("relation", Relation)
def test_a_relation_is_its_name(relation):
    assert as_relation(relation.value) is relation
    assert as_relation(relation) is relation
    assert str(relation) == relation.value
    assert eval(repr(relation), {"Relation": Relation}) is relation  # noqa: S307  # the text is our own


@pytest.mark.parametrize("wrong", [None, "", "add", "ADD_REMOVE", "Add_remove", 1, True, b"add_remove"])
def test_there_is_no_default(wrong):
    with pytest.raises(RelationError, match="add_remove, replace_one, zero_out"):
        as_relation(wrong)


def test_relation_error_is_a_value_error():
    assert issubclass(RelationError, ValueError)
    assert issubclass(RelationError, AccountingError)
