"""The plan of sums that no single party can open: lattice masks whose keys are shared among the parties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self, final

from secagg.api import Entropy, Keys
from secagg.checks import check_integer
from secagg.envelope import digest
from secagg.errors import ParameterError, PeerProtocolError
from secagg.masking.keys import KEY_BYTES, KeyPair
from secagg.onemessage import refuse_unused
from secagg.prg import draw
from secagg.threshold.client import ThresholdClient
from secagg.threshold.keys import ThresholdKeys, ThresholdServerKeys, binding
from secagg.threshold.messages import OVERHEAD, Kind, body_bytes
from secagg.threshold.noise import BOUND
from secagg.threshold.parameters import Layout, Packing, Thresholds, packing, thresholds
from secagg.threshold.ring import RING, Q
from secagg.threshold.server import ROUNDS, ThresholdServer
from secagg.threshold.sharing import PRIME

__all__ = ["ThresholdSum"]


@final
@dataclass(frozen=True, slots=True)
class ThresholdSum:
    r"""A plan of a sum that the server opens with the answers of `threshold` parties; made by :meth:`plan`.

    Every party masks its vector with a lattice secret that it draws for this session, and shares that secret among all
    parties. When the survivors are known, each party gives the server the sum of their shares, once; `threshold` of
    these open the sum of the secrets, which takes the mask off the sum of the vectors, and off nothing else.

    Guarantee:
        Sums are exact: the total is that of the survivors, or the server's session raises; the chance that a sum of
        parties that follow the protocol does not open is at most 2^-64. Held by
        ``test_the_sum_is_exact_whoever_drops_out`` and ``test_failure_is_below_the_bound_by_exact_convolution``. What
        is kept from whom, :attr:`promise` says.

    Args:
        num_parties: parties, 3 to 400.
        dim: entries of a vector.
        value_bits: bits of one entry.
        threshold: answers that open a sum.
        corrupt: fraction of the parties that may be on the server's side.
        dropout: fraction of the parties that may drop out, in all rounds together.

    Example:
        >>> plan = ThresholdSum.plan(15, 1_000_000, 16, threshold=12, corrupt=0.1, dropout=0.2)
        >>> plan.min_survivors, plan.min_honest, plan.fields, plan.packed
        (12, 11, 2, 2)

    References:
        Lyubashevsky, Peikert & Regev 2010 (RLWE); Shamir 1979; Blakley & Meadows 1984 (several secrets in a
        polynomial); docs/threshold.md for the format and for what holds.
    """

    num_parties: int
    dim: int
    value_bits: int
    threshold: int
    corrupt: float
    dropout: float
    thresholds: Thresholds = field(init=False, repr=False)
    packing: Packing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("num_parties", "dim", "value_bits", "threshold"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        kept = thresholds(self.num_parties, threshold=self.threshold, corrupt=self.corrupt, dropout=self.dropout)
        object.__setattr__(self, "thresholds", kept)
        object.__setattr__(self, "packing", packing(self.num_parties, self.dim, self.value_bits))

    @classmethod
    def plan(
        cls, num_parties: int, dim: int, value_bits: int, *, threshold: int, corrupt: float, dropout: float
    ) -> Self:
        """Plan a threshold sum.

        Args:
            num_parties: n, 3 to 400.
            dim: entries of a vector, 1 to 2**40.
            value_bits: bits of one entry; entries lie in ``[0, 2**value_bits)``. Sums do not wrap: send offset-encoded
                integers, never residues (the sum of residues would tell how many were negative).
            threshold: t, answers that open a sum; ``3 * threshold > 2 * num_parties + A``, so that a server that tells
                parties different lists of survivors opens one sum at most, and at most n - D. The largest, n - D, has
                the shortest messages; a smaller one opens the sum when more parties than D are gone at the end, and
                with wrong answers among more than it takes.
            corrupt: fraction of the parties that may be on the server's side, in [0, 1), floored to A.
            dropout: fraction of the parties that may drop out, in [0, 1), floored to D.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or what is promised would not hold.
            CapacityError: the sum does not fit a coefficient beside its noise.
        """
        return cls(num_parties, dim, value_bits, threshold, corrupt, dropout)

    @property
    def wrap(self) -> bool:
        """Never: sums are exact integers."""
        return False

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        return ROUNDS

    @property
    def promise(self) -> str:
        """One paragraph: secure against whom, assuming what, leaking what."""
        plan = self.thresholds
        return (
            f"ThresholdSum: the server and up to {plan.corrupt} of {self.num_parties} parties together, whatever they "
            "do, learn one sum at most, who is in it, and who took part; it has the inputs of at least "
            f"{plan.min_honest} honest parties. It takes {self.threshold} answers; what {plan.silent} parties hold, "
            "corrupt ones among them, says nothing of it. Assumed: a roster of public keys that reached every party "
            "over a channel that the server cannot change, keys that are used for one session only, and RLWE in "
            f"dimension {RING} with a 60-bit modulus and noise of stddev 3.2: each "
            "party's is 6.4, of which so much is left when the sums of secrets and of noise are known. The argument, "
            "in docs/threshold.md, holds for a list of survivors that does not hang on the masked inputs; for one that "
            "the server picks later it loses a factor of the number of such lists. Construction and code are our own, "
            "and nobody has audited them. One party that lies, in its shares or in its answer, can keep the sum from "
            "coming out, or enter any vector, of whatever size; where one answer more than the threshold arrives, a "
            "wrong one is left out. Sessions have no snapshots, so nothing is ever answered twice. A sum is not "
            "differentially private by itself."
        )

    @property
    def modulus_bits(self) -> int:
        """Bits of the modulus that masked entries live in."""
        return Q.bit_length()

    @property
    def min_survivors(self) -> int:
        """The sum is opened only if at least so many inputs are in it."""
        return self.thresholds.min_survivors

    @property
    def min_honest(self) -> int:
        """Honest inputs that any opened sum contains; noise is planned for so many."""
        return self.thresholds.min_honest

    @property
    def fields(self) -> int:
        """Entries of one coefficient."""
        return self.packing.fields

    @property
    def packed(self) -> int:
        """Coefficients of a secret that share a polynomial: shares are so many times shorter."""
        return self.thresholds.packed

    @property
    def chunks(self) -> int:
        """Ring elements of one vector."""
        return self.packing.chunks

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends; exact if it stays."""
        kinds = (Kind.SHARES, Kind.INPUT, Kind.REVEAL)
        return sum(OVERHEAD + body_bytes(kind, self._layout) for kind in kinds)

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, an upper bound; exact if everybody shares."""
        return sum(OVERHEAD + body_bytes(kind, self._layout) for kind in (Kind.RELAY, Kind.SURVIVORS))

    def keygen(self, entropy: Entropy | None = None) -> Keys[ThresholdKeys, ThresholdServerKeys]:
        """Fresh keys of one session, for a simulation; in earnest every party makes its own.

        Args:
            entropy: source of the session identifier and of all private keys; None means the system's.

        Returns:
            The keys of all parties and of the server.
        """
        session, own = draw(entropy, KEY_BYTES), draw(entropy, KEY_BYTES)
        secrets = [draw(entropy, KEY_BYTES) for _ in range(self.num_parties)]
        roster, server = tuple(KeyPair(secret).public for secret in secrets), KeyPair(own).public
        clients = tuple(ThresholdKeys(party, session, secret, roster, server) for party, secret in enumerate(secrets))
        return Keys(clients, ThresholdServerKeys(session, own, roster))

    def client(
        self,
        party: int,
        *,
        entropy: Entropy | None = None,
        identity: Any = None,
        keys: ThresholdKeys | None = None,
        guard: Any = None,
    ) -> ThresholdClient:
        """A party's session.

        Args:
            party: its number, 0 to ``num_parties - 1``.
            entropy: source of the session's seed; None means the system's.
            identity: must be None: the roster says who the parties are.
            keys: this party's keys; required, and used once.
            guard: must be None: there are no snapshots.

        Returns:
            The session.

        Raises:
            ParameterError: no such party, or not its keys.
        """
        refuse_unused(identity, guard)
        party = check_integer("party", party, at_least=0, at_most=self.num_parties - 1)
        if not isinstance(keys, ThresholdKeys) or keys.party != party or len(keys.roster) != self.num_parties:
            raise ParameterError(f"keys must be the ThresholdKeys of party {party} among {self.num_parties}.")
        bound = binding(keys.session, self._config, keys.server, keys.roster)
        try:
            return ThresholdClient(self._layout, keys, bound, draw(entropy, KEY_BYTES))
        except PeerProtocolError as error:
            raise ParameterError(f"keys.roster cannot be used: {error}") from None

    def server(self, *, entropy: Entropy | None = None, keys: ThresholdServerKeys | None = None) -> ThresholdServer:
        """The server's session.

        Args:
            entropy: not used.
            keys: the server's keys; required.

        Returns:
            The session.

        Raises:
            ParameterError: not a server's keys of this many parties.
        """
        if not isinstance(keys, ThresholdServerKeys) or len(keys.roster) != self.num_parties:
            raise ParameterError(f"keys must be the ThresholdServerKeys of {self.num_parties} parties.")
        bound = binding(keys.session, self._config, KeyPair(keys.secret).public, keys.roster)
        try:
            return ThresholdServer(self._layout, keys, bound)
        except PeerProtocolError as error:
            raise ParameterError(f"keys.roster cannot be used: {error}") from None

    @property
    def _layout(self) -> Layout:
        """The numbers that sessions need."""
        return Layout(self.thresholds, self.packing)

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever all sides must agree on."""
        plan, how = self.thresholds, self.packing
        return digest(
            "ThresholdSum",
            *(self.num_parties, self.dim, self.value_bits),
            *(plan.threshold, plan.min_survivors, plan.min_honest, plan.corrupt, plan.packed),
            *(how.width, how.fields, how.cut, how.limit),
            *(RING, Q, PRIME, BOUND),
        )
