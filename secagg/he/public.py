"""Exact integer sums under BFV with a public key: parties encrypt, the server adds, and one opener holds the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, final

from secagg.api import Entropy, Keys
from secagg.checks import check_integer
from secagg.envelope import Channel
from secagg.errors import DecodeError, ParameterError
from secagg.he.blinds import PartyBlinds, party_key
from secagg.he.keys import KEY_BYTES, OpenerKeys, PublicClientKeys, PublicServerKeys
from secagg.he.planner import least_survivors, public_ring, tag_bits
from secagg.he.plans import BFVPlan
from secagg.he.rings import Ring
from secagg.he.seal import Backend, Decryptor, PublicEncryptor, backend
from secagg.he.work import BFVReader, BFVSealer, BFVServer
from secagg.onemessage import OneMessageClient, OneMessageServer, SumReader, refuse_unused
from secagg.prg import draw
from secagg.tag import SumTag

__all__ = ["PublicBFVSum"]


@final
@dataclass(frozen=True, slots=True)
class PublicBFVSum(BFVPlan):
    r"""A plan of a homomorphic sum that one opener can open; made by ``BFVSum.plan(..., key="public")``.

    Parties hold a public key and no secret one. The server adds their ciphertexts and sends the sum to the opener, who
    verifies its tag against the announced survivors. Ciphertexts are twice as large as where parties hold the secret
    key, because neither half of one follows from a seed.

    Guarantee:
        Sums are exact but with a chance of 2^-64 at most (:mod:`secagg.he.planner`; held by
        ``test_public_noise_stays_within_its_bound`` and ``test_worst_case_noise_decrypts``), and then they do not
        verify. What is kept from whom, :attr:`promise` says.

    Args:
        num_parties: parties, >= 3; the opener is none of them, or tells them the sum.
        dim: entries of a vector.
        value_bits: bits of one entry.
        min_survivors: the sum is opened only if at least so many inputs are in it.

    Example:
        >>> plan = PublicBFVSum.plan(15, 1_000_000, 16)
        >>> plan.ring.degree, plan.security.level_2024, round(plan.bytes_up / plan.dim, 1)
        (4096, 128, 8.1)

    References:
        Fan & Vercauteren, "Somewhat practical fully homomorphic encryption" (2012); for the ring, the two tables of
        :mod:`secagg.he.rings`.
    """

    num_parties: int
    dim: int
    value_bits: int
    min_survivors: int

    def __post_init__(self) -> None:
        self._check()

    @classmethod
    def plan(cls, num_parties: int, dim: int, value_bits: int, *, dropout: float = 0.0) -> Self:
        """Plan a sum that one opener can open.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, >= 1; entries lie in ``[0, 2**value_bits)``. Sums do not wrap: send
                offset-encoded integers, never residues (the sum of residues would tell how many were negative).
            dropout: fraction of the parties that may fail to send, in [0, 1), floored to parties.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or fewer than 3 parties would have to survive.
            CapacityError: the sum does not fit a slot beside its noise in any ring.
        """
        num_parties = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
        return cls(num_parties, dim, value_bits, least_survivors(num_parties, dropout))

    @property
    def key(self) -> Literal["public"]:
        """Parties encrypt with a public key."""
        return "public"

    @property
    def ring(self) -> Ring:
        """The ring in which a vector is smallest; both primes count, because a public key is published under both."""
        return public_ring(self.num_parties, self.value_bits, self.dim)

    @property
    def promise(self) -> str:
        """What this protocol promises."""
        bits = tag_bits(self.num_parties, self.ring)
        return (
            f"PublicBFVSum ({self.num_parties} clients with a public key, one opener with the secret one) keeps every "
            "vector, and the sum, from the server, from whoever reads the wire, and from any number of clients with "
            f"them, as long as the opener does not help: {self.security}. The opener learns the sum and the list of "
            "survivors; together with the server or the wire the opener reads everybody's vector: against such a pair "
            "a ledger may claim only each party's own local noise. A server that combines ciphertexts in any way but "
            f"one from each announced party is found by a tag (chance that a forgery passes at most 2^-{bits}), and no "
            f"sum of fewer than {self.min_survivors} inputs is opened. If k clients help a lying server, at least "
            f"{self.min_survivors} - k other vectors are still in what is opened, once each, with anything of theirs "
            "added; and whether the opener opens it tells them one bit, which hangs on that sum, on encryption "
            "noise and on the secret key, and not on one party's vector alone. A sum decrypts wrongly with a chance of "
            "at most 2^-64, and is then not opened. The server learns who took part. A client that cheats can enter "
            "values beyond the planned range or below zero, as long as the sums stay in their own, and can spoil the "
            "sum; nobody sees which client did. Keys are for one session: never use them for a second one."
        )

    @property
    def min_honest(self) -> int:
        """Inputs in an opened sum that one observer does not know: the survivors but one.

        The opener alone knows none of them. But sums are there to be told, and a party that is told this one knows its
        own share; so does a party that helps a lying server, which can then replace that share and no other. Noise is
        planned for ``min_survivors - 1`` shares, as it is where parties open the sum; against k parties who put
        together what they know, ``min_survivors - k`` count. Against the opener with the server, see :attr:`promise`.
        """
        return self.min_survivors - 1

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives: none; the opener receives :attr:`bytes_opened`."""
        return 0

    @property
    def bytes_opened(self) -> int:
        """Bytes the opener receives, at most."""
        return self._sum_bytes

    def keygen(self, entropy: Entropy | None = None) -> Keys[PublicClientKeys, PublicServerKeys]:
        """Fresh keys of one session, made by the opener, for channels that the server can neither read nor change.

        A party takes the public key that it is handed for the opener's: whoever could put his own in its place would
        read that party's vector.

        Args:
            entropy: source of all keys but SEAL's; None means the system's. SEAL draws key pair and encryption
                randomness by itself, whatever is passed: seeding it would repeat ciphertext randomness.

        Returns:
            The keys of all parties, of the server and of the opener. No evaluation key is among them.

        Raises:
            BackendError: TenSEAL is missing.
        """
        secret_key, public_key = self._backend.new_key_pair()
        session, group_key, root = (draw(entropy, KEY_BYTES) for _ in range(3))
        opener_key, *links = (draw(entropy, KEY_BYTES) for _ in range(self.num_parties + 1))
        clients = tuple(
            PublicClientKeys(
                party, session, public_key, group_key, blind_key=party_key(root, session, party), link_key=link
            )
            for party, link in enumerate(links)
        )
        opener = OpenerKeys(session, secret_key, group_key, root, opener_key)
        return Keys(clients, PublicServerKeys(session, tuple(links), opener_key), opener)

    def client(
        self,
        party: int,
        *,
        entropy: Entropy | None = None,
        identity: Any = None,
        keys: PublicClientKeys | None = None,
        guard: Any = None,
    ) -> OneMessageClient:
        """A party's session, which ends when its vector is sent.

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
        if not isinstance(keys, PublicClientKeys) or keys.party != party:
            raise ParameterError(f"keys must be the PublicClientKeys of party {party}: plan.keygen().clients[{party}].")
        try:
            encryptor = PublicEncryptor(self._backend, keys.public_key)
        except DecodeError as error:
            raise ParameterError(
                f"keys.public_key must be a key of this plan, made with its keygen(): {error}"
            ) from None
        tag = self._tag(keys, {party: keys.blind_key}.__getitem__)
        channel = Channel(keys.session, self._config, party, self.chunks, keys.link_key, 0)
        return OneMessageClient(self, channel, BFVSealer(self._layout, party, encryptor, tag))

    def server(self, *, entropy: Entropy | None = None, keys: PublicServerKeys | None = None) -> OneMessageServer:
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
        if not isinstance(keys, PublicServerKeys) or len(keys.link_keys) != self.num_parties:
            raise ParameterError("keys must be the PublicServerKeys of this plan: plan.keygen().server.")
        config, chunks = self._config, self.chunks
        channels = tuple(
            Channel(keys.session, config, party, chunks, link, self.bytes_up)
            for party, link in enumerate(keys.link_keys)
        )
        opener = Channel(keys.session, config, self.num_parties, chunks, keys.opener_key, 0)
        return OneMessageServer(self, channels, BFVServer(self._layout, self._backend), opener)

    def opener(self, *, keys: OpenerKeys | None = None) -> SumReader:
        """The session of who opens the sum.

        Args:
            keys: the opener's keys from :meth:`keygen`; required. One session only.

        Returns:
            The session: ``receive`` what the server sends, then ``result``.

        Raises:
            ParameterError: not an opener's keys.
            BackendError: TenSEAL is missing.
        """
        if not isinstance(keys, OpenerKeys):
            raise ParameterError("keys must be the OpenerKeys of this plan: plan.keygen().opener.")
        try:
            decryptor = Decryptor(self._backend, keys.secret_key)
        except DecodeError as error:
            raise ParameterError(
                f"keys.secret_key must be a key of this plan, made with its keygen(): {error}"
            ) from None
        tag = self._tag(keys, partial(party_key, keys.blind_root, keys.session))
        channel = Channel(keys.session, self._config, self.num_parties, self.chunks, keys.link_key, self.bytes_opened)
        return SumReader(self, channel, BFVReader(self._layout, decryptor, self._backend, tag))

    @property
    def _backend(self) -> Backend:
        """SEAL for this plan."""
        return backend(self.plain_modulus, self.ring)

    def _tag(self, keys: PublicClientKeys | OpenerKeys, key_of: Callable[[int], bytes]) -> SumTag:
        """Tags of a session, with the blinds of parties whose blind keys are known."""
        modulus, config = self.plain_modulus, self._config
        return SumTag(
            keys.group_key,
            session=keys.session,
            config=config,
            modulus=modulus,
            num_parties=self.num_parties,
            slots=self.ring.degree - 1,
            blinds=PartyBlinds(key_of, session=keys.session, config=config, modulus=modulus, chunks=self.chunks),
        )
