"""Streams: AES-256-CTR, never shared, never copied, honest about seeds."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from dpkit.entropy import is_secure, read_bytes, read_words, resolve, seeded, system
from dpkit.errors import EntropyError, ParameterError

FORK = """
import os
from dpkit.entropy import seeded, system
source, marked = system(), seeded(5)
source.bytes(3)
end, start = os.pipe()
pid = os.fork()
if pid == 0:
    try:
        marked.bytes(1)
        verdict = b"drew"
    except Exception as error:
        verdict = type(error).__name__.encode()
    child = marked.child("worker").bytes(8)
    os.write(start, source.bytes(32) + child + verdict)
    os._exit(0)
os.waitpid(pid, 0)
data = os.read(end, 1000)
print(data[:32] != source.bytes(32), data[32:40] == seeded(5).child("worker").bytes(8), data[40:].decode())
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this platform")
def test_fork_never_shares_a_stream():
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.split() == ["True", "True", "EntropyError"], run.stderr


@pytest.mark.parametrize("source", [system(), seeded(1)], ids=["system", "seeded"])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_no_copies(source, make):
    with pytest.raises(EntropyError, match="may not be copied"):
        make(source)


@given(st.one_of(st.integers(), st.binary(max_size=64)))
def test_a_seed_decides_the_stream(seed):
    assert seeded(seed).bytes(40) == seeded(seed).bytes(40)
    first = seeded(seed)
    assert first.bytes(5) + first.bytes(35) == seeded(seed).bytes(40)


@given(st.lists(st.one_of(st.integers(), st.binary(max_size=20)), min_size=2, max_size=6, unique_by=repr))
def test_different_seeds_differ(seeds):
    streams = {seeded(seed).bytes(32) for seed in seeds}
    assert len(streams) == len(seeds)


def test_seeds_are_told_apart_by_type_sign_and_size():
    seeds = [0, -1, 1, 255, -256, 256, 2**256, 2**256 + 1, b"", b"\0", b"\1", b"1", np.int64(7), 8]
    assert len({seeded(seed).bytes(32) for seed in seeds}) == len(seeds)
    assert seeded(np.int64(7)).bytes(8) == seeded(7).bytes(8)


def test_the_stream_is_aes_256_ctr(monkeypatch):
    monkeypatch.setattr("os.urandom", lambda n: bytes(range(n)))
    encryptor = Cipher(algorithms.AES(bytes(range(32))), modes.CTR(bytes(16))).encryptor()
    assert system().bytes(100) == encryptor.update(bytes(100))


def test_system_sources_are_fresh():
    assert system().bytes(32) != system().bytes(32)
    source = system()
    assert source.bytes(32) != source.bytes(32)
    assert source.child("a").bytes(32) != source.child("a").bytes(32)


def test_children_are_named():
    parent = seeded(9)
    assert parent.child("a").bytes(16) == seeded(9).child("a").bytes(16)
    assert parent.child("a").bytes(16) != parent.child("b").bytes(16)
    assert parent.child("a").bytes(16) != parent.bytes(16)
    assert parent.child("a").secure is False
    assert system().child("a").secure is True
    with pytest.raises(ParameterError, match="label"):
        parent.child(3)


def test_threads_share_a_source_without_sharing_bytes():
    source, pieces, together = seeded(3), [], threading.Lock()

    def work():
        for _ in range(50):
            piece = source.bytes(16)
            with together:
                pieces.append(piece)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream = seeded(3).bytes(16 * 200)
    assert sorted(pieces) == sorted(stream[i : i + 16] for i in range(0, len(stream), 16))


def test_security_is_said_and_keys_are_not():
    assert system().secure is True
    assert seeded(123456789).secure is False
    assert "seeded" in repr(seeded(123456789))
    assert "123456789" not in repr(seeded(123456789))
    assert is_secure(system())
    assert not is_secure(seeded(1))
    assert not is_secure(object()), "silence means no"


@pytest.mark.parametrize("seed", [True, 1.0, "1", None, np.bool_(True)])
def test_seeds_of_other_types_are_refused(seed):
    with pytest.raises(ParameterError, match="seed must be"):
        seeded(seed)


@pytest.mark.parametrize("n", [-1, 1.5, True, None])
def test_bad_lengths_are_refused(n):
    with pytest.raises(ParameterError, match="n must be"):
        system().bytes(n)


def test_resolve():
    source = seeded(1)
    assert resolve(source) is source
    assert resolve(None).secure
    with pytest.raises(EntropyError, match=r"\.bytes\(n\)"):
        resolve(42)


def test_words_are_little_endian_and_complete():
    class Short:
        secure = True

        def bytes(self, n):
            return bytes(n - 1)

    class Count:
        secure = True

        def bytes(self, n):
            return bytes(range(n))

    assert read_words(Count(), 2, 16).tolist() == [0x0100, 0x0302]
    with pytest.raises(EntropyError, match="must return 8 bytes"):
        read_words(Short(), 2, 32)


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: bytes(n - 1),
        lambda n: bytes(n + 1),
        lambda _: b"",
        bytearray,
        lambda n: memoryview(bytes(n)),
        lambda n: np.zeros(n, dtype=np.uint64),
        lambda n: "0" * n,
        lambda n: [0] * n,
        lambda _: None,
    ],
)
def test_a_broken_source_is_refused(answer):
    """Fewer bytes would bias what is drawn, more of them too, and a buffer may change after it was read."""

    class Broken:
        secure = True

        def bytes(self, n):
            return answer(n)

    with pytest.raises(EntropyError, match="must return"):
        read_bytes(Broken(), 8)
    with pytest.raises(EntropyError, match="must return"):
        read_words(Broken(), 3, 64)
