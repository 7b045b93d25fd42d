"""Approximate sums of reals under CKKS with one secret key among the clients: the server adds what it cannot read."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self, final

from secagg.api import Entropy, Keys
from secagg.checks import check_finite, check_integer, dropped_parties
from secagg.envelope import OVERHEAD, Channel, digest
from secagg.errors import DecodeError, ParameterError
from secagg.he.ckks_work import CKKSClient, CKKSServer, SlotLayout
from secagg.he.keys import KEY_BYTES, ClientKeys, ServerKeys
from secagg.he.precision import Precision, precise
from secagg.he.seal import blob_limit
from secagg.he.slots import SlotBackend, SlotCipher, slot_backend
from secagg.masking.packing import set_bytes
from secagg.onemessage import ROUNDS, OneMessageClient, OneMessageServer, refuse_unused
from secagg.prg import draw

__all__ = ["CKKSSum"]

_LEAST, _MOST = 1e-250, 1e250
"""Between these, everything that a plan computes is a normal float64."""


@final
@dataclass(frozen=True, slots=True)
class CKKSSum:
    """A plan of a homomorphic sum of reals; made by :meth:`plan`.

    Every party encodes its floats into complex slots, two to a slot, and sends seeded symmetric ciphertexts; the server
    adds them without a key; any party opens the sum, with noise that hides the noise of its ciphertexts.

    For sums that are noised and recorded take an exact protocol: this one adds noise of its own, which no ledger
    counts, and its totals are not integers.

    Guarantee:
        Every entry of the total is within :attr:`error_bound`, which is at most `error`, of the exact sum, except with
        probability 2^-64 for the whole vector (:mod:`secagg.he.precision`; held by
        ``test_error_bound_holds_at_the_extremes``). Whoever sees the wire and the total learns no more than from the
        wire and an encoding of the sum that hangs on no ciphertext, up to a statistical distance of
        2^-:attr:`flood_bits` (:mod:`secagg.he.flooding`; held by ``test_distance_of_a_shift_is_below_the_bound``). What
        is kept from whom, :attr:`promise` says.

    Args:
        num_parties: parties, >= 3 (of two, each would read the other's part off the sum).
        dim: entries of a vector.
        clip: largest absolute value of an entry.
        error: what the caller allows an entry of the total to be off.
        min_survivors: the sum is opened only if at least so many inputs are in it.

    Example:
        >>> plan = CKKSSum.plan(15, 1_000_000, clip=1.0, error=1e-3)
        >>> plan.values_per_chunk, plan.chunks, plan.modulus_bits, plan.flood_bits
        (8192, 123, 80, 41)

    References:
        Cheon, Kim, Kim & Song, "Homomorphic encryption for arithmetic of approximate numbers" (ASIACRYPT 2017); Li &
        Micciancio, "On the security of homomorphic encryption on approximate numbers" (EUROCRYPT 2021).
    """

    num_parties: int
    dim: int
    clip: float
    error: float
    min_survivors: int

    def __post_init__(self) -> None:
        for name, least, most in (("num_parties", 3, 2**31), ("dim", 1, 2**40)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=least, at_most=most))
        for name in ("clip", "error"):
            object.__setattr__(self, name, check_finite(name, getattr(self, name)))
        if not _LEAST <= self.clip <= _MOST:
            raise ParameterError(f"clip must be in [{_LEAST}, {_MOST}], got {self.clip}; scale the vectors.")
        if self.error <= 0:
            raise ParameterError(f"error must be > 0, got {self.error}; for exact sums use BFVSum.")
        survivors = check_integer("min_survivors", self.min_survivors, at_least=3, at_most=self.num_parties)
        object.__setattr__(self, "min_survivors", survivors)
        _ = self._precision

    @classmethod
    def plan(cls, num_parties: int, dim: int, *, clip: float, error: float, dropout: float = 0.0) -> Self:
        """Plan a homomorphic sum of reals.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1. A model's arrays go into one vector (:func:`secagg.tree.flatten`): a
                ciphertext holds thousands of entries, and is sent whole for one.
            clip: largest absolute value of an entry, > 0; vectors beyond it are refused.
            error: largest error of an entry of the total that the caller allows, > 0, in units of the vectors. It
                decides the modulus, and what is not needed for the sum goes into the noise that protects the key.
            dropout: fraction of the parties that may fail to send, in [0, 1), floored to parties.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or fewer than 3 parties would have to survive.
            CapacityError: no modulus has room for so small an error; the message says for which it has.
        """
        num_parties = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
        survivors = num_parties - dropped_parties(dropout, num_parties)
        if survivors < 3:
            raise ParameterError(
                f"dropout must leave at least 3 of {num_parties} parties, got {dropout} which leaves {survivors}: with "
                "two, each reads the other's part off the sum."
            )
        return cls(num_parties, dim, clip, error, survivors)

    @property
    def value_bits(self) -> int:
        """Bits of one entry: entries are float64."""
        return 64

    @property
    def wrap(self) -> bool:
        """Never: sums stay below the modulus."""
        return False

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        return ROUNDS

    @property
    def promise(self) -> str:
        """What this protocol promises."""
        ring = self._precision.ring
        return (
            f"CKKSSum (one key among {self.num_parties} clients) keeps every vector, and the sum, from a server that "
            "follows the protocol and from whoever reads the wire, as long as no client helps them: RLWE with ring "
            f"dimension {ring.degree} and a modulus of {self.modulus_bits} bits, within the {ring.level}-bit rows of "
            "the Homomorphic Encryption Standard (2018) and of the guidelines of 2024. Approximate sums carry no tag: "
            "a server that lies, and "
            "combines ciphertexts in another way than one from each announced party, is NOT found out by anything but "
            "the range of the sum, and a total that a client then shows can be one client's vector, or give away the "
            "secret key and with it everybody's. Messages "
            f"between a party and the server are authenticated, and no sum of fewer than {self.min_survivors} "
            f"announced inputs is opened. Every entry of the total is within {self.error_bound:.3g} of the sum, except "
            "with probability 2^-64 for the vector. An opened total may be shown to the server: noise that "
            f"hides the noise of the ciphertexts, up to a statistical distance of 2^-{self.flood_bits} for the vector, "
            "is added before it is decrypted; the total itself says about the vectors what a sum says. Any single "
            "client together with the server or the wire reads everybody's vector: against such a pair a ledger may "
            "claim only each party's own local noise. Every client learns the sum and the list of survivors; the "
            "server learns who took part. A client that cheats can enter any vector, beyond the planned range too. "
            "Keys are for one session: never use them for a second one."
        )

    @property
    def modulus_bits(self) -> int:
        """Bits of the ciphertext modulus: 60, or 80 where the error asks for it."""
        return self._precision.ring.modulus.bit_length()

    @property
    def error_bound(self) -> float:
        """What an entry of the total is off at most, except with probability 2^-64; rounded up, and <= `error`."""
        exact = self._precision.error * Fraction(2) ** self._shift
        return min(self.error, math.nextafter(float(exact), math.inf))

    @property
    def flood_bits(self) -> int:
        """s: the opened total hangs on the noise of ciphertexts by a statistical distance of at most 2^-s."""
        return self._precision.flood_bits

    @property
    def min_honest(self) -> int:
        """Inputs in an opened sum that one observer does not know: the survivors but itself."""
        return self.min_survivors - 1

    @property
    def values_per_chunk(self) -> int:
        """Values of one ciphertext: two in each complex slot."""
        return self._precision.ring.degree

    @property
    def chunks(self) -> int:
        """Ciphertexts of one vector."""
        return self._precision.chunks

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, at most: SEAL compresses, and a compressed length has a bound but varies."""
        return OVERHEAD + self.chunks * (4 + blob_limit(self._precision.ring.seeded_bytes))

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, at most."""
        return OVERHEAD + set_bytes(self.num_parties) + self.chunks * (4 + blob_limit(self._precision.ring.full_bytes))

    def keygen(self, entropy: Entropy | None = None) -> Keys[ClientKeys, ServerKeys]:
        """Fresh keys of one session. Hand each party its own over a channel that the server does not read.

        Args:
            entropy: source of the session identifier, the group key and the link keys; None means the system's. The
                secret key and all encryption randomness come from SEAL's own generator, whatever is passed: seeding it
                would repeat ciphertext randomness.

        Returns:
            The keys of all parties and of the server.

        Raises:
            BackendError: TenSEAL is missing.
        """
        secret_key = self._backend.new_secret_key()
        session, group_key = draw(entropy, KEY_BYTES), draw(entropy, KEY_BYTES)
        links = tuple(draw(entropy, KEY_BYTES) for _ in range(self.num_parties))
        clients = tuple(ClientKeys(party, session, secret_key, group_key, link) for party, link in enumerate(links))
        return Keys(clients, ServerKeys(session, links))

    def client(
        self,
        party: int,
        *,
        entropy: Entropy | None = None,
        identity: Any = None,
        keys: ClientKeys | None = None,
        guard: Any = None,
    ) -> OneMessageClient:
        """A party's session; its input is floats in ``[-clip, clip]``, shape ``(dim,)``, and its total float64.

        Args:
            party: its number, 0 to ``num_parties - 1``.
            entropy: not used: SEAL draws its own randomness (see :meth:`keygen`).
            identity: must be None.
            keys: this party's keys from :meth:`keygen`; required. One session only.
            guard: must be None.

        Returns:
            The session.

        Raises:
            ParameterError: no such party, or not its keys.
            BackendError: TenSEAL is missing.
        """
        refuse_unused(identity, guard)
        party = check_integer("party", party, at_least=0, at_most=self.num_parties - 1)
        if not isinstance(keys, ClientKeys) or keys.party != party:
            raise ParameterError(f"keys must be the ClientKeys of party {party}: plan.keygen().clients[{party}].")
        try:
            cipher = SlotCipher(self._backend, keys.secret_key)
        except DecodeError:
            raise ParameterError(
                "keys.secret_key is not a key of this plan; make keys with this plan's keygen()."
            ) from None
        config = self._config
        work = CKKSClient(
            self._layout, cipher, self._backend, group_key=keys.group_key, session=keys.session, config=config
        )
        channel = Channel(keys.session, config, party, self.chunks, keys.link_key, self.bytes_down)
        return OneMessageClient(self, channel, work, work)

    def server(self, *, entropy: Entropy | None = None, keys: ServerKeys | None = None) -> OneMessageServer:
        """The server's session.

        Args:
            entropy: not used.
            keys: the server's keys from :meth:`keygen`; required.

        Returns:
            The session.

        Raises:
            ParameterError: not a server's keys of this many parties.
            BackendError: TenSEAL is missing.
        """
        if not isinstance(keys, ServerKeys) or len(keys.link_keys) != self.num_parties:
            raise ParameterError("keys must be the ServerKeys of this plan: plan.keygen().server.")
        config, chunks, limit = self._config, self.chunks, self.bytes_up
        channels = tuple(
            Channel(keys.session, config, party, chunks, link, limit) for party, link in enumerate(keys.link_keys)
        )
        return OneMessageServer(self, channels, CKKSServer(self._layout, self._backend))

    @property
    def _shift(self) -> int:
        """Vectors are divided by ``2**shift``, so that clip lies in (1/2, 1]."""
        mantissa, exponent = math.frexp(self.clip)
        return exponent - (mantissa == 0.5)

    @property
    def _precision(self) -> Precision:
        """Ring, scale and flood."""
        unit = Fraction(2) ** self._shift
        return precise(self.num_parties, self.dim, Fraction(self.clip) / unit, Fraction(self.error) / unit)

    @property
    def _backend(self) -> SlotBackend:
        """SEAL's objects."""
        return slot_backend(self._precision.ring, self._precision.scale_bits)

    @property
    def _layout(self) -> SlotLayout:
        """Where values stand in ciphertexts."""
        return SlotLayout(self.clip, self._shift, self._precision)

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever two sides must agree on."""
        reals = (int.from_bytes(struct.pack("<d", value), "little") for value in (self.clip, self.error))
        precision = self._precision
        return digest(
            "CKKSSum shared",
            *(self.num_parties, self.dim, self.min_survivors, *reals),
            *(precision.ring.degree, precision.ring.modulus, precision.scale_bits, precision.width),
        )
