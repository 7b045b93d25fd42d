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

#: reason -> rows for which no engine certifies both ends yet: the bounds must contain the value, and are wide
HANDED_OVER = {
    "about one hit in the whole plan (times q near 1): the contour integral decays too slowly": {
        "tfp_example_micro_samp_pld",
        "dpacc_psg_3",
    },
    "the pair has no engine before the tilted Fourier transform: antipodal, Laplace, groups under Poisson": {
        "koskela_S_s2.0_q0.01_n10000_d1e-05",
        "koskela_S_s1.0_q0.01_n10000_d1e-06",
        "koskela_S_s2.0_q0.005_n10000_d1e-06",
        "koskela_delta_S_e1.0_s2.0_q0.01_n10000",
        "koskela_hetero_S",
        "dpacc_replace_q0.01_s1.0_T1000",
        "prv_readme_hetero_upper",
        "prv_laplace1000_upper",
        "tfp_statement_user2_poisson_pld",
        "dpacc_laplace_cal_T20",
    },
}


def is_handed_over(row):
    return any(row.name in names for names in HANDED_OVER.values())
