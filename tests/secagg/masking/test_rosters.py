"""What is checked of the others' keys; parties of whole sessions meet all of it in test_client."""

from __future__ import annotations

import pytest

from secagg.errors import PeerProtocolError
from secagg.masking.keys import Identity
from secagg.masking.layout import advertised
from secagg.masking.rosters import check_directory, check_keys, check_signatures
from secagg.masking.task import Registry

TASK = bytes([9]) * 32
KEYS = {party: bytes([party + 1]) * 32 + bytes([party + 11]) * 32 for party in (0, 2, 5)}
SIGNERS = {party: Identity(bytes([party + 21]) * 32) for party in KEYS}
REGISTRY = Registry(None, {party: signer.public for party, signer in SIGNERS.items()})
DIRECTORY = {party: bytes([party + 31]) * 32 for party in (0, 1, 2, 5, 6)}


def signed(task=TASK):
    return {party: keys + SIGNERS[party].sign(advertised(task, party, keys)) for party, keys in KEYS.items()}


def test_keys_as_they_were_sent_pass():
    check_keys(KEYS, 2, KEYS[2])
    check_keys(signed(), 2, KEYS[2])
    check_signatures(signed(), TASK, REGISTRY)
    check_directory(DIRECTORY, KEYS, 2, DIRECTORY[2])


@pytest.mark.parametrize(
    ("change", "peer"),
    [
        ({2: KEYS[2][:-1] + b"\0"}, "server"),
        ({2: KEYS[0]}, "server"),
        ({0: KEYS[5]}, "server"),
        ({0: KEYS[0][:32] + KEYS[5][:32]}, "server"),
        ({0: KEYS[0][:32] * 2}, "server"),
        ({0: KEYS[2][32:] + KEYS[0][32:]}, "server"),
        ({5: KEYS[5][:31] + b"\xff" + KEYS[5][32:]}, 5),
        ({5: KEYS[5][:63] + b"\x80"}, 5),
        ({5: b"\xed" + b"\xff" * 30 + b"\x7f" + KEYS[5][32:]}, 5),
    ],
)
def test_keys_that_are_not_are_refused(change, peer):
    with pytest.raises(PeerProtocolError) as error:
        check_keys(KEYS | change, 2, KEYS[2])
    assert error.value.peer == peer


def test_a_roster_without_this_party_is_refused():
    with pytest.raises(PeerProtocolError, match="own keys"):
        check_keys({party: keys for party, keys in KEYS.items() if party != 2}, 2, KEYS[2])


@pytest.mark.parametrize("party", KEYS)
def test_every_signature_is_looked_at(party):
    right = signed()
    other = next(peer for peer in KEYS if peer != party)
    for entry in (
        signed(bytes(32))[party],
        right[party][:64] + right[other][64:],
        right[party][:64] + SIGNERS[other].sign(advertised(TASK, party, KEYS[party])),
        right[party][:64] + SIGNERS[party].sign(advertised(TASK, other, KEYS[party])),
        KEYS[other] + right[party][64:],
        right[party][:64],
    ):
        with pytest.raises(PeerProtocolError, match="task, model and settings") as error:
            check_signatures(right | {party: entry}, TASK, REGISTRY)
        assert error.value.peer == party


def test_directories_that_leave_out_or_double_are_refused():
    for change in ({2: DIRECTORY[0]}, {2: bytes(32)}, {6: DIRECTORY[1]}):
        with pytest.raises(PeerProtocolError, match="directory"):
            check_directory(DIRECTORY | change, KEYS, 2, DIRECTORY[2])
    for without in (0, 2, 5):
        with pytest.raises(PeerProtocolError, match="directory"):
            check_directory({p: k for p, k in DIRECTORY.items() if p != without}, KEYS, 2, DIRECTORY[2])
