"""Homomorphic sums against TenSEAL as its README sets it up: bytes on the wire, and time to encrypt and serialise."""

import numpy as np

from tests.bench.timing import interleaved, row

PARTIES = 15
VALUE_BITS = 16
DIM = 32 * 8190


def rows():
    import tenseal as ts

    import secagg

    plan = secagg.BFVSum.plan(PARTIES, DIM, VALUE_BITS)
    keys = plan.keygen()
    integers = np.random.default_rng(0).integers(0, 1 << VALUE_BITS, DIM)
    floats = (integers / 2.0**15 - 1.0).tolist()
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40

    def ours():
        client = plan.client(0, keys=keys.clients[0])
        client.set_input(integers)
        return client.start()[0].payload

    def peer():
        # one ciphertext at a time: longer vectors make TenSEAL print a warning for each
        return [ts.ckks_vector(context, floats[start : start + 4096]).serialize() for start in range(0, DIM, 4096)]

    ours_s, peer_s = interleaved(ours, peer, repeats=3)
    ours_bytes, peer_bytes = len(ours()), sum(map(len, peer()))
    what = f"homomorphic upload per float32, {VALUE_BITS}-bit values, {PARTIES} parties"
    upload = {
        "what": what,
        "against": "TenSEAL README CKKS",
        "ours": f"{ours_bytes / (4 * DIM):.3f} of float32",
        "peer": f"{peer_bytes / (4 * DIM):.3g} of float32",
        "ratio": f"{peer_bytes / ours_bytes:.1f} times smaller",
        "reach": "≤ 1.0 of float32",
    }
    speed = row(
        f"the same: pack, tag, encrypt, serialise {DIM} values", "TenSEAL README CKKS", ours_s, peer_s, "≥ 10 times"
    )
    return [upload, speed]
