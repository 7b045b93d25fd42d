"""RDP epsilon of 10 000 sampled Gaussians against dp_accounting's and Opacus's RDP accountants."""

import warnings

from tests.bench.timing import interleaved, row


def rows():
    from accountants import Gaussian, PoissonSampled, epsilon

    warnings.simplefilter("ignore")
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant
    from opacus.accountants import RDPAccountant as OpacusAccountant

    def ours():
        return epsilon(PoissonSampled(Gaussian(1.0), 0.01) * 10_000, delta=1e-5, relation="add_remove")

    def google():
        event = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.0))
        return RdpAccountant().compose(event, 10_000).get_epsilon(1e-5)

    def opacus():
        accountant = OpacusAccountant()
        accountant.history = [(1.0, 0.01, 10_000)]
        return accountant.get_epsilon(1e-5)

    what = "RDP epsilon, q = 0.01, sigma = 1, 10⁴ steps"
    results = []
    for name, peer in (("dp_accounting RDP", google), ("Opacus RDP", opacus)):
        ours_s, peer_s = interleaved(ours, peer)
        note = f"{what} (ours {ours():.4f}, theirs {peer():.4f})"
        results.append(row(note, name, ours_s, peer_s, "≥ 5 × faster"))
    return results
