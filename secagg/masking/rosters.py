"""What a party checks of the others' keys before it shares or masks anything."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from secagg.errors import PeerProtocolError
from secagg.masking.keys import KEY_BYTES, check_public
from secagg.masking.layout import advertised
from secagg.masking.task import Signer

__all__ = ["check_directory", "check_keys", "check_signatures"]


def check_keys(roster: Mapping[int, bytes], party: int, public: bytes) -> None:
    """Every key is canonical and there once, and this party's are as it sent them.

    Args:
        roster: two public keys, and what signs them, by party.
        party: this party.
        public: its two keys.

    Raises:
        PeerProtocolError: they are not.
    """
    own = roster.get(party)
    if own is None or not hmac.compare_digest(own[: 2 * KEY_BYTES], public):
        raise PeerProtocolError("the roster does not have this party's own keys.", peer="server")
    starts = (0, KEY_BYTES)
    keys = [check_public(entry[at : at + KEY_BYTES], peer=peer) for peer, entry in roster.items() for at in starts]
    if len(set(keys)) < len(keys):
        raise PeerProtocolError("two keys of the roster are the same.", peer="server")


def check_signatures(roster: Mapping[int, bytes], task: bytes, signer: Signer) -> None:
    """Everybody signed its keys for this task, hence for this model and these settings.

    Args:
        roster: two public keys and their signature by party.
        task: 32 bytes, this party's own task.
        signer: who the parties are.

    Raises:
        PeerProtocolError: somebody did not.
    """
    for party, entry in roster.items():
        message, signature = advertised(task, party, entry[: 2 * KEY_BYTES]), entry[2 * KEY_BYTES :]
        if not signer.verify(party, message, signature):
            raise PeerProtocolError(
                "keys of the roster are not signed by their party for this task, model and settings.", peer=party
            )


def check_directory(directory: Mapping[int, bytes], roster: Mapping[int, bytes], party: int, public: bytes) -> None:
    """Everybody near can sign the list of survivors, with a key of its own, and this party with the one that it sent.

    Args:
        directory: verification keys by party.
        roster: keys of this party and its neighbours.
        party: this party.
        public: its own verification key.

    Raises:
        PeerProtocolError: they cannot.
    """
    own = directory.get(party)
    if own is None or not hmac.compare_digest(own, public) or not roster.keys() <= directory.keys():
        raise PeerProtocolError("the directory does not have this party's own key, or a neighbour's.", peer="server")
    if len(set(directory.values())) < len(directory):
        raise PeerProtocolError("two keys of the directory are the same.", peer="server")
