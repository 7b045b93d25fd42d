"""Rows of the accounting table that are not checked in full, with the reason; everything else is."""

#: reason -> (mechanism, ask); None stands for any ask. Everything else in the table is checked.
NOT_EXPRESSED = {
    "shuffling has no event": {("shuffling eps0-LDP", None)},
    "truncated Poisson as a curve of its own: ours adds the probability of a full batch (here 0.31) to delta": {
        ("truncated poisson gaussian", None),
    },
}

#: rows that are wrong beyond their own tolerance -> (the truth, how finely the oracle must look to see it)
REFUTED = {
    "psg_add_q0.01_s1.0_T100000_d1e-05": (24.39172223984878, {"t": 1.05, "step": 0.02, "fine": 0.1}),  # by 1.2e-9
    "psg_remove_q0.01_s0.5_T100_d1e-06": (7.91608410115, {"t": 1.5, "step": 0.09, "fine": 0.03}),  # by 1.1e-7
    "koskela_delta_R_e1.0_s1.0_q0.01_n10000": (0.23914296136567, {"t": 0.7, "step": 0.08, "fine": 0.1}),  # by 3e-5
}

#: rows of false negatives that a test undercuts by more than their tolerance -> (a threshold, how finely to look)
UNDERCUT = {
    "riskcal_beta_a0.01": (2.096, {"t": 0.7, "step": 0.08, "fine": 0.1}),  # by 3.3e-3
    "riskcal_beta_a0.05": (1.1756, {"t": 0.7, "step": 0.08, "fine": 0.1}),  # by 1.3e-3
}
