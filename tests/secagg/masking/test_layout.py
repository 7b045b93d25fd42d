"""What the bodies hold: rosters have one encoding, limits are those of the plan, and shares stay apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.masking.layout import (
    SEALED_BYTES,
    SHARE_BYTES,
    Layout,
    advertised,
    consistent,
    join_share,
    read_share,
    split_share,
)
from secagg.masking.messages import Kind

SMALL = Layout(
    num_parties=9,
    dim=5,
    value_bits=3,
    modulus_bits=7,
    neighbours=4,
    threshold=3,
    own_share=False,
    min_survivors=7,
    is_complete=False,
    signed=False,
    quorum=0,
    config=bytes(32),
)
LAYOUTS = {
    "plain": SMALL,
    "signed": replace(SMALL, neighbours=8, own_share=True, is_complete=True, signed=True, quorum=5),
    "directory": replace(SMALL, quorum=5),
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def roster_of(layout, parties=(1, 4, 8)):
    entries = [(party, bytes([party]) * layout.entry_bytes) for party in parties]
    return entries, [(party, bytes([party + 100]) * 32) for party in range(7) if layout.has_directory]


def test_lengths(layout):
    signature, directory = 64 * layout.signed, layout.has_directory
    assert layout.entry_bytes == 64 + signature
    assert layout.key_bytes == 64 + signature + 32 * directory
    assert layout.input_bytes == 32 + 5
    assert (SHARE_BYTES, SEALED_BYTES) == (36, 88)
    limits = {kind: layout.body_limit(kind, 4, 9) for kind in Kind}
    assert limits == {
        Kind.ADVERTISE: layout.key_bytes,
        Kind.ROSTER: 4 + (layout.neighbours + 1) * (4 + layout.entry_bytes) + 9 * 36 * directory,
        Kind.SHARES: 3 * 88,
        Kind.RELAY: 1 + 3 * 88,
        Kind.INPUT: 37,
        Kind.SURVIVORS: 2,
        Kind.SIGNATURE: 64,
        Kind.PROOF: 2 + 9 * 64,
        Kind.UNMASK: 1 + (4 if layout.own_share else 3) * 36,
    }
    assert layout.body_limit(Kind.SHARES, 0, 0) == 0


def test_who_counts_as_a_holder():
    assert LAYOUTS["signed"].holders(5) == 5
    assert SMALL.holders(5) == 4


def test_a_roster_is_read_as_it_was_written(layout):
    entries, directory = roster_of(layout)
    assert layout.read_roster(layout.write_roster(entries, directory)) == (dict(entries), dict(directory))


@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_a_roster_has_one_encoding(name, data):
    layout = LAYOUTS[name]
    entries, directory = roster_of(layout)
    body = bytearray(layout.write_roster(entries, directory))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 9))
    body = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    try:
        found = layout.read_roster(body)
    except DecodeError as error:
        assert error.peer == "server"
        return
    assert layout.write_roster(list(found[0].items()), list(found[1].items())) == body
    assert all(list(part) == sorted(part) and set(part) <= set(range(9)) for part in found)
    assert bool(found[1]) == layout.has_directory


@pytest.mark.parametrize("parties", [(4, 1), (4, 4), (1, 9), (1, 2**31)], ids=["order", "twice", "nobody", "far"])
def test_a_roster_names_each_party_of_the_plan_once_in_order(layout, parties):
    entries, directory = roster_of(layout, (1, 4))
    written = [(party, keys) for party, (_, keys) in zip(parties, entries, strict=True)]
    with pytest.raises(DecodeError, match="at most once, in order"):
        layout.read_roster(layout.write_roster(written, directory))


def test_a_directory_names_each_party_of_the_plan_once_in_order():
    layout = LAYOUTS["directory"]
    entries, directory = roster_of(layout)
    for wrong in (directory[::-1], [*directory, directory[-1]], [*directory, (9, bytes(32))]):
        with pytest.raises(DecodeError, match="at most once, in order"):
            layout.read_roster(layout.write_roster(entries, wrong))


def test_a_directory_is_there_where_it_is_needed_and_nowhere_else():
    entries, directory = roster_of(LAYOUTS["directory"])
    for layout, wrong in ((LAYOUTS["directory"], []), (SMALL, directory)):
        with pytest.raises(DecodeError, match="roster of this plan"):
            layout.read_roster(layout.write_roster(entries, wrong))


def test_counts_and_lengths_that_do_not_fit_are_refused(layout):
    entries, directory = roster_of(layout)
    body = layout.write_roster(entries, directory)
    for wrong in (b"", body[:3], body + b"\0", body[:-1], (2**32 - 1).to_bytes(4, "little") + body[4:]):
        with pytest.raises(DecodeError, match="roster of this plan"):
            layout.read_roster(wrong)


def test_what_is_signed_has_its_purpose_in_front_and_one_reading():
    task, keys = bytes([1]) * 32, bytes([2]) * 64
    assert advertised(task, 3, keys) == b"secagg v1 advertise" + task + b"\3\0\0\0" + keys
    ids = {party: party.to_bytes(4, "little") for party in range(4)}
    assert consistent(task, [1, 2], [2]) == b"secagg v1 consistency" + task + ids[2] + ids[1] + ids[2] + ids[1] + ids[2]
    heard = [([1], [2]), ([1, 2], []), ([], [1, 2]), ([1, 2], [2]), ([1], [2, 2])]
    assert len({consistent(task, *sets) for sets in heard}) == len(heard)


def test_the_two_shares_of_a_pair_stay_apart():
    shares = np.arange(18, dtype=np.uint32).reshape(2, 9) + np.uint32(2**30)
    pair = join_share(shares)
    assert split_share(pair, of_seed=False) + split_share(pair, of_seed=True) == pair
    for of_seed, share in enumerate(shares):
        assert read_share(split_share(pair, of_seed=bool(of_seed))).tolist() == share.tolist()
        assert read_share(split_share(pair, of_seed=bool(of_seed))).dtype == np.uint32
