"""The kit must notice: each fault planted in a protocol is found by the check that is for it; ours have none."""

import numpy as np
import pytest

from secagg import BFVSum, SecAgg, SecAggPlus
from secagg.errors import ConformanceError, ParameterError
from secagg.testing import CHECKS, Case, check_all, failed_checks
from tests.secagg import faulty
from tests.secagg.faulty import (
    AnyParty,
    Bent,
    DeafToGuards,
    OneSession,
    OneTask,
    OwnEntropy,
    leaking,
    masked,
    plain,
    scrambled,
)


def _client(make, session):
    return lambda n, dim: Bent(make(n, dim), client=session)


def _server(make, session):
    return lambda n, dim: Bent(make(n, dim), server=session)


def _with(make, **change):
    """A plan with an attribute that is changed by so much."""

    def bent(n, dim):
        plan = make(n, dim)
        return Bent(plan, **{name: getattr(plan, name) + by for name, by in change.items()})

    return bent


def _packed(vector):
    return np.packbits([(int(value) >> bit) & 1 for value in vector for bit in range(19)], bitorder="little").tobytes()


FAULTS = {
    "a wrong total": ("sums", _server(masked, faulty.WrongTotal), "is not the sum"),
    "a client that opens another one": ("sums", _client(plain, faulty.WrongTotal), "is not the sum"),
    "a total of floats": ("sums", _server(masked, faulty.RealTotal), "must be uint64"),
    "survivors that are none": ("sums", _server(masked, faulty.NamesAll), "names the survivors"),
    "a party that is forgotten": ("sums", _server(masked, faulty.ForgetsTheLast), "and not"),
    "fewer drop-outs than planned": ("sums", _with(plain, min_survivors=-1), "as many as planned"),
    "sums of too few": ("sums", _with(masked, min_survivors=1), "planned"),
    "an error without a type": ("sums", _server(plain, faulty.KeyErrorIfOneIsMissing), "raised KeyError"),
    "a result of too few": ("sums", _server(masked, faulty.OpensAnyway), "too few, somebody opened"),
    "a sum that nobody opens": ("sums", _server(masked, faulty.NobodyOpens), "nobody can open"),
    "a plan of another size": ("sums", lambda n, dim: plain(n, dim + 1), "take both as given"),
    "a plan without inputs": ("sums", lambda n, dim: Bent(plain(n, dim), rounds=("sum",)), "masked_input"),
    "starting twice": ("order", _client(plain, faulty.StartsTwice), "start of 0"),
    "another error": ("order", _client(masked, faulty.ValueErrorInOrder), "raised ValueError"),
    "a refused call that aborts": ("order", _client(masked, faulty.StopsWhenAskedWrongly), "took its state"),
    "a refused call that counts": ("order", _client(masked, faulty.KeepsTheSecondInput), "calls out of order"),
    "reals that are rounded": ("order", _client(masked, faulty.RoundsReals), "with reals"),
    "a round that nobody answered": ("order", _server(masked, faulty.ClosesEmptyRounds), "before anybody has sent"),
    "aborted and alive": ("order", _client(masked, faulty.NeverAborts), "must raise LocalProtocolError"),
    "a longer message": ("fuzz", _server(masked, faulty.Cuts), "with a byte more"),
    "a longer message to a party": ("fuzz", _client(masked, faulty.Cuts), "with a byte more"),
    "a message twice": ("fuzz", _server(masked, faulty.TakesTwice), "sent twice"),
    "a message of another": ("fuzz", _server(masked, faulty.BelievesAnyone), "and went through"),
    "an error of Python's": ("fuzz", _server(masked, faulty.IndexErrors), "raised IndexError"),
    "a refused message that aborts": ("fuzz", _client(masked, faulty.StopsAtRubbish), "changed its state"),
    "a refused message that counts": ("fuzz", _server(masked, faulty.RubbishIsAdded), "messages that nobody sent"),
    "more bytes up": ("bytes", _with(masked, bytes_up=-1), "a party sent"),
    "more bytes down": ("bytes", _with(masked, bytes_down=-1), "a party received"),
    "bytes miscounted by the server": ("bytes", _server(masked, faulty.CountsWrongly), "'server' are not what"),
    "bytes miscounted by a party": ("bytes", _client(plain, faulty.CountsWrongly), "of 0 are not what"),
    "entropy of its own": ("determinism", lambda n, dim: OwnEntropy(masked(n, dim)), "from the same entropy"),
    "no secrecy": ("secrecy", plain, "has the input of 0 in it, as integers of 2 bytes"),
    "integers in the clear": ("secrecy", leaking(lambda v: np.asarray(v).astype(">u4").tobytes()), "of 4 bytes"),
    "bits in the clear": ("secrecy", leaking(_packed), "packed to 19 bits"),
    "a short key": ("secrecy", scrambled(by_party=True, period=16), "what is sent for zeros differs"),
    "a key of all": ("secrecy", scrambled(by_party=False, period=2**20), "what two parties send"),
    "a key for good": ("secrecy", scrambled(by_party=True, period=2**20), "in two sessions"),
    "masks for good": ("secrecy", lambda n, dim: OneSession(masked(n, dim)), "in two sessions"),
    "no sessions": ("foreign", plain, "one of another session"),
    "keys that are ignored": ("foreign", lambda n, dim: OneTask(masked(n, dim)), "one of another session"),
    "a guard that nobody asks": ("restore", lambda n, dim: Bent(masked(n, dim), client=DeafToGuards), "RollbackRisk"),
    "any party": ("foreign", lambda n, dim: AnyParty(masked(n, dim)), "client(-1)"),
}
BY_NAME = {check.name: check for check in CHECKS}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_by_its_check(name):
    check, make, found = FAULTS[name]
    with pytest.raises(ConformanceError) as raised:
        BY_NAME[check].run(Case(make))
    assert found in str(raised.value)


def test_every_check_has_a_fault_here():
    assert {check for check, _, _ in FAULTS.values()} == set(BY_NAME)


@pytest.mark.parametrize(
    ("kind", "adversary", "wrap", "num_parties"),
    [
        (SecAgg, "semi_honest", False, 5),
        (SecAgg, "malicious", True, 5),
        (SecAggPlus, "semi_honest", True, 10),
        (SecAggPlus, "semi_malicious", False, 5),
    ],
)
def test_masked_sums_pass(kind, adversary, wrap, num_parties):
    terms = {"adversary": adversary, "corrupt": 0.2, "dropout": 0.2, "wrap": wrap}
    check_all(lambda n, dim: kind.plan(n, dim, 13, **terms), num_parties=num_parties)


def test_homomorphic_sums_pass_but_for_randomness_that_is_not_ours():
    failed = failed_checks(Case(lambda n, dim: BFVSum.plan(n, dim, 16, dropout=0.2)))
    assert set(failed) == {"determinism"}


def test_plain_sums_keep_nothing_and_are_right():
    assert set(failed_checks(Case(plain))) == {"secrecy", "foreign"}


@pytest.mark.parametrize(("value_bits", "wrap"), [(1, False), (64, True)])
def test_values_of_any_width_are_checked(value_bits, wrap):
    terms = {"adversary": "semi_honest", "corrupt": 0.25, "dropout": 0.25, "wrap": wrap}
    check_all(lambda n, dim: SecAgg.plan(n, dim, value_bits, **terms), num_parties=4, dim=130)


def test_a_transport_is_carried_on_and_held_to_the_bytes():
    seen = []

    def carry(payload, src, dst):
        seen.append((src, dst))
        return bytes(payload)

    made = [BY_NAME[name] for name in ("sums", "secrecy")]
    for check in made:
        check.run(Case(masked, num_parties=5, carry=carry))
    assert {dst for src, dst in seen if src == "server"} == {src for src, dst in seen if dst == "server"} == {*range(5)}
    cut = Case(masked, num_parties=5, carry=lambda payload, src, dst: payload[:1000])
    made[0].run(cut)
    with pytest.raises(ConformanceError, match="arrived as something else"):
        made[1].run(cut)


def test_the_report_names_all_that_failed():
    with pytest.raises(ConformanceError, match=r"^secrecy: .*; foreign: "):
        check_all(plain)


def test_what_is_left_out_is_not_made():
    check_all(plain, leave_out=("secrecy", "foreign"))
    with pytest.raises(ParameterError, match="leave_out must name checks"):
        check_all(plain, leave_out=("speed",))
